-- `GET /events?type=` finds a rare type in a long log. There is no such index for actors and correlation ids: row-level
-- security keeps a caller's request from an index on `metadata ->> …`, and columns of their own slow an append by a tenth
-- and more. Appends wait while the index is made, about 1 s for a million events.
CREATE INDEX control_events_by_type ON control_events (log_id, event_type, position);
