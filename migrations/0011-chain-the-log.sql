-- The log of each case becomes a chain of hashes that nobody can add to by hand, change or shorten.
-- depends: 0010-guard-the-workflow

-- What the application does not read: hashes, users' history, salts. No role of the application has
-- anything here.
CREATE SCHEMA audit;
COMMENT ON SCHEMA audit IS 'How the audit trail is kept, and the history of the users.';
GRANT USAGE ON SCHEMA audit TO case_lookup, case_seed, case_readonly;
GRANT CREATE ON SCHEMA audit TO case_lookup;

-- The epoch in milliseconds and not the time as text, which depends on the session's time zone.
CREATE FUNCTION audit.case_log_hash(
    previous bytea, id uuid, case_id uuid, seq integer, user_id uuid, action text, details jsonb,
    written_at timestamptz, login text
) RETURNS bytea
LANGUAGE sql STABLE PARALLEL SAFE SECURITY INVOKER
RETURN sha256(
    coalesce(previous, '\x') || convert_to(
        jsonb_build_array(
            id, case_id, seq, user_id, action, details,
            (extract(epoch FROM written_at) * 1000)::bigint, login
        )::text,
        'UTF8'
    )
);
COMMENT ON FUNCTION audit.case_log_hash(
    bytea, uuid, uuid, integer, uuid, text, jsonb, timestamptz, text
) IS 'The hash of an entry, given the hash of the one before it (null for the first).';

-- As a window function it chains whole histories in one pass.
CREATE AGGREGATE audit.case_log_chain(
    id uuid, case_id uuid, seq integer, user_id uuid, action text, details jsonb,
    written_at timestamptz, login text
) (SFUNC = audit.case_log_hash, STYPE = bytea, PARALLEL = SAFE);

GRANT SELECT, INSERT ON public.case_logs TO case_lookup;
-- Some column, because locking a row asks for the right to update it.
GRANT UPDATE (updated_at) ON public.cases TO case_lookup;
GRANT EXECUTE ON FUNCTION public.uuid_v7() TO case_lookup;
GRANT EXECUTE ON FUNCTION audit.case_log_hash(
    bytea, uuid, uuid, integer, uuid, text, jsonb, timestamptz, text
) TO case_lookup, case_seed, case_readonly;
GRANT EXECUTE ON FUNCTION audit.case_log_chain(
    uuid, uuid, integer, uuid, text, jsonb, timestamptz, text
) TO case_seed, case_readonly;

CREATE FUNCTION audit.chain_case_log() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ''
AS $$
DECLARE
    last record;
BEGIN
    -- One at a time for each case. Under a higher isolation level whoever comes second gets an error
    -- (the lock's, or the unique key's), never a fork.
    PERFORM FROM public.cases AS c WHERE c.id = new.case_id FOR NO KEY UPDATE;
    SELECT l.seq, l.hash INTO last
    FROM public.case_logs AS l
    WHERE l.case_id = new.case_id
    ORDER BY l.seq DESC
    LIMIT 1;
    new.seq := coalesce(last.seq, 0) + 1;
    -- The server's clock, after the lock, whatever a client sends: in the order of the chain.
    new."timestamp" := date_trunc('milliseconds', clock_timestamp());
    new.login := session_user;
    new.hash := audit.case_log_hash(
        last.hash, new.id, new.case_id, new.seq, new.user_id, new.action, new.details,
        new."timestamp", new.login
    );
    RETURN new;
END
$$;
COMMENT ON FUNCTION audit.chain_case_log() IS 'Trigger: appends an entry to its case''s chain.';
ALTER FUNCTION audit.chain_case_log() OWNER TO case_lookup;

CREATE FUNCTION audit.refuse_change() RETURNS trigger
LANGUAGE plpgsql SECURITY INVOKER
SET search_path = ''
AS $$
BEGIN
    RAISE EXCEPTION '% of %.% is refused: it is kept for ever', tg_op, tg_table_schema, tg_table_name
        USING ERRCODE = 'restrict_violation', SCHEMA = tg_table_schema, TABLE = tg_table_name,
              CONSTRAINT = tg_table_name || '_append_only',
              HINT = 'The audit trail can be added to, and nothing else. Personal data is erased where '
                     'it lies: SELECT public.erase_case(case).';
END
$$;
COMMENT ON FUNCTION audit.refuse_change() IS 'Trigger: refuses what would change or remove history.';

CREATE FUNCTION audit.refuse_case_removal() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ''
AS $$
BEGIN
    IF EXISTS (SELECT FROM public.case_logs AS l WHERE l.case_id = old.id) THEN
        RAISE EXCEPTION 'a case that has a log cannot be deleted'
            USING ERRCODE = 'restrict_violation', SCHEMA = 'public', TABLE = 'cases',
                  CONSTRAINT = 'cases_with_log_stay',
                  HINT = 'Personal data in it is erased with SELECT public.erase_case(case).';
    END IF;
    RETURN old;
END
$$;
COMMENT ON FUNCTION audit.refuse_case_removal() IS 'Trigger: keeps every case that has a log.';
ALTER FUNCTION audit.refuse_case_removal() OWNER TO case_lookup;
REVOKE CREATE ON SCHEMA audit FROM case_lookup;

-- ENABLE ALWAYS: session_replication_role = replica switches off foreign keys and other triggers.
CREATE TRIGGER case_logs_chain BEFORE INSERT ON public.case_logs
    FOR EACH ROW WHEN (current_setting('casedb.bulk_load', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION audit.chain_case_log();
CREATE TRIGGER case_logs_bulk_load BEFORE INSERT ON public.case_logs
    FOR EACH STATEMENT WHEN (current_setting('casedb.bulk_load', true) = 'on')
    EXECUTE FUNCTION ops.require_bulk_load();
CREATE TRIGGER case_logs_append_only BEFORE UPDATE OR DELETE ON public.case_logs
    FOR EACH ROW EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER case_logs_no_truncate BEFORE TRUNCATE ON public.case_logs
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER cases_with_log_stay BEFORE DELETE ON public.cases
    FOR EACH ROW EXECUTE FUNCTION audit.refuse_case_removal();
CREATE TRIGGER cases_no_truncate BEFORE TRUNCATE ON public.cases
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER case_documents_no_truncate BEFORE TRUNCATE ON public.case_documents
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER users_no_truncate BEFORE TRUNCATE ON public.users
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
ALTER TABLE public.case_logs
    ENABLE ALWAYS TRIGGER case_logs_chain,
    ENABLE ALWAYS TRIGGER case_logs_bulk_load,
    ENABLE ALWAYS TRIGGER case_logs_append_only,
    ENABLE ALWAYS TRIGGER case_logs_no_truncate;
ALTER TABLE public.cases
    ENABLE ALWAYS TRIGGER cases_with_log_stay,
    ENABLE ALWAYS TRIGGER cases_no_truncate,
    -- The guards of the workflow too: what they let through is what is logged.
    ENABLE ALWAYS TRIGGER cases_bulk_load,
    ENABLE ALWAYS TRIGGER cases_guard_insert,
    ENABLE ALWAYS TRIGGER cases_guard_update;
ALTER TABLE public.case_documents ENABLE ALWAYS TRIGGER case_documents_no_truncate;
ALTER TABLE public.users
    ENABLE ALWAYS TRIGGER users_no_truncate,
    ENABLE ALWAYS TRIGGER users_guard_caseworker;

-- Volume: histories are copied here, in the order in which they happened, and chained in one pass.
CREATE UNLOGGED TABLE audit.staged_case_logs (
    ordinal     bigint GENERATED ALWAYS AS IDENTITY,
    id          uuid           NOT NULL DEFAULT public.uuid_v7(),
    case_id     uuid           NOT NULL,
    user_id     uuid           NOT NULL,
    action      text           NOT NULL,
    details     jsonb,
    "timestamp" timestamptz(3) NOT NULL,

    CONSTRAINT staged_case_logs_pkey PRIMARY KEY (ordinal)
);
COMMENT ON TABLE audit.staged_case_logs IS
    'Whole histories of new cases on their way into the log; empty otherwise.';
GRANT SELECT, INSERT, DELETE, TRUNCATE ON audit.staged_case_logs TO case_seed;

CREATE FUNCTION audit.load_staged_case_logs() RETURNS bigint
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
COMMENT ON FUNCTION audit.load_staged_case_logs() IS
    'Moves what is staged into the log, chained; returns the number of entries.';
GRANT EXECUTE ON FUNCTION audit.load_staged_case_logs() TO case_seed;
