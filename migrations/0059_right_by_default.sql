-- How many attempts a command of a type has by default: a column of every version of `command_types`, which may be null.
DO $$
DECLARE
    made regclass;
BEGIN
    FOR made IN
        SELECT oid FROM pg_class WHERE relkind = 'r' AND relname ~ '^command_types_v[0-9]+$'
    LOOP
        EXECUTE format('ALTER TABLE %s ADD COLUMN max_attempts int', made);
    END LOOP;
    -- The view shows it, on the table that it shows already.
    FOR made IN
        SELECT DISTINCT refobjid FROM pg_depend JOIN pg_rewrite ON pg_rewrite.oid = objid
        WHERE classid = 'pg_rewrite'::regclass AND refclassid = 'pg_class'::regclass
          AND ev_class = 'command_types'::regclass AND refobjid <> 'command_types'::regclass
    LOOP
        EXECUTE format('CREATE OR REPLACE VIEW command_types WITH (security_invoker = true) AS SELECT * FROM %s', made);
    END LOOP;
END
$$;
