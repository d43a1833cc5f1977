-- How far the comparison of a rebuild has got, and how quickly.
ALTER TABLE projection_rebuilds
    -- How many ranges of keys there are to compare. NULL before the comparison.
    ADD ranges bigint,
    ADD comparing_since timestamptz;
ALTER TABLE projection_rebuild_ranges ADD compared_at timestamptz NOT NULL DEFAULT clock_timestamp();
