-- A batch of commands may be paused. Every version of the table takes the word: rebuilds have made further ones.
DO $$
DECLARE
    made regclass;
    named name;
BEGIN
    FOR made IN
        SELECT oid FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname ~ '^command_batches_v[0-9]+$'
    LOOP
        FOR named IN
            SELECT conname FROM pg_constraint
            WHERE conrelid = made AND contype = 'c' AND pg_get_constraintdef(oid) LIKE '%''running''%'
        LOOP
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', made, named);
            EXECUTE format(
                'ALTER TABLE %s ADD CONSTRAINT %I CHECK
                     (status IN (''running'', ''paused'', ''completed'', ''aborted'', ''cancelled''))', made, named);
        END LOOP;
    END LOOP;
END
$$;
