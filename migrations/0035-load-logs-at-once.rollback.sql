-- Loses no data; one session at a time loads histories once more, by the stage.
CREATE OR REPLACE FUNCTION audit.load_staged_case_logs() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = ''
AS $$
DECLARE
    loaded bigint;
    before CONSTANT text := coalesce(current_setting('casedb.bulk_load', true), '');
BEGIN
    PERFORM set_config('casedb.bulk_load', 'on', true);
    IF EXISTS (
        SELECT FROM audit.staged_case_logs AS s
        WHERE EXISTS (SELECT FROM public.case_logs AS l WHERE l.case_id = s.case_id)
    ) THEN
        RAISE EXCEPTION 'a case to be loaded has a log already'
            USING ERRCODE = 'unique_violation',
                  HINT = 'Stage whole histories of new cases, and load each of them once.';
    END IF;
    INSERT INTO public.case_logs
        (id, case_id, user_id, action, details, "timestamp", seq, login, hash)
    SELECT n.id, n.case_id, n.user_id, n.action, n.details, n."timestamp", n.seq, session_user,
           audit.case_log_chain(
               n.id, n.case_id, n.seq, n.user_id, n.action, n.details, n."timestamp",
               session_user::text
           ) OVER (PARTITION BY n.case_id ORDER BY n.seq)
    FROM (
        SELECT s.*, row_number() OVER (PARTITION BY s.case_id ORDER BY s.ordinal)::integer AS seq
        FROM audit.staged_case_logs AS s
    ) AS n;
    GET DIAGNOSTICS loaded = ROW_COUNT;
    TRUNCATE audit.staged_case_logs;
    PERFORM set_config('casedb.bulk_load', before, true);
    RETURN loaded;
END
$$;
DROP FUNCTION audit.load_case_logs(uuid[], uuid[], uuid[], text[], jsonb, timestamptz[]);
CREATE OR REPLACE AGGREGATE audit.case_log_chain(
    id uuid, case_id uuid, seq integer, user_id uuid, action text, details jsonb,
    written_at timestamptz, login text
) (SFUNC = audit.case_log_hash, STYPE = bytea, PARALLEL = SAFE);
DROP FUNCTION audit.next_case_log_hash(
    bytea, uuid, uuid, integer, uuid, text, jsonb, timestamptz, text
);
