-- Whoever may read a log may see what the witnesses took of it: `GET /audit/{log}/witnesses`.
GRANT SELECT ON audit_witnesses TO fleetlog_requests;
