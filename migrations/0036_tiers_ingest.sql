-- How much the devices of a tenant may send: a tier's bounds, which each node counts for itself. NULL: no bound.
ALTER TABLE tiers
    ADD messages_per_s int CONSTRAINT tiers_messages CHECK (messages_per_s > 0),
    ADD bytes_per_s bigint CONSTRAINT tiers_bytes CHECK (bytes_per_s > 0),
    ADD connection_messages_per_s int CONSTRAINT tiers_connection_messages CHECK (connection_messages_per_s > 0),
    ADD connection_bytes_per_s bigint CONSTRAINT tiers_connection_bytes CHECK (connection_bytes_per_s > 0),
    -- How many unknown devices may register themselves by what they send.
    ADD new_devices_per_s int DEFAULT 10 CONSTRAINT tiers_new_devices CHECK (new_devices_per_s > 0);

UPDATE tiers SET messages_per_s = 1000, bytes_per_s = 1048576, connection_messages_per_s = 200,
    connection_bytes_per_s = 524288, new_devices_per_s = 10 WHERE tier = 'free';
UPDATE tiers SET messages_per_s = 10000, bytes_per_s = 16777216, connection_messages_per_s = 2000,
    connection_bytes_per_s = 4194304, new_devices_per_s = 100 WHERE tier = 'premium';
-- The platform's own tenant has this tier: it may use the whole machine, but not fill the record with devices.
UPDATE tiers SET new_devices_per_s = 1000 WHERE tier = 'enterprise';
