-- Who may read a checkpoint may add a witness's signature to it, and change nothing else.
GRANT UPDATE (cosignatures) ON audit_checkpoints TO fleetlog_requests;
