-- Which way a case may go, who may send it there, and who may be assigned.
-- depends: 0009-act-as-a-user

-- In ops and not in public: nothing of the application reads it, and Prisma would want to drop it.
CREATE TABLE ops.case_transitions (
    -- Null: the state in which a case is born.
    from_status text,
    to_status   text NOT NULL,
    role        text NOT NULL,

    CONSTRAINT case_transitions_once UNIQUE NULLS NOT DISTINCT (from_status, to_status, role),
    CONSTRAINT case_transitions_move CHECK (from_status IS DISTINCT FROM to_status),
    CONSTRAINT case_transitions_role_known CHECK (role IN ('CLERK', 'CHAIR', 'CASEWORKER'))
);

COMMENT ON TABLE ops.case_transitions IS
    'The status flow: which role may move a case from where to where. A further row is a further way.';

INSERT INTO ops.case_transitions (from_status, to_status, role) VALUES
    (NULL, 'NEW', 'CLERK'),
    (NULL, 'NEW', 'CHAIR'),
    ('NEW', 'PENDING_REVIEW', 'CLERK'),
    ('NEW', 'PENDING_REVIEW', 'CHAIR'),
    ('PENDING_REVIEW', 'ASSIGNED', 'CHAIR'),
    ('ASSIGNED', 'IN_PROGRESS', 'CASEWORKER'),
    ('IN_PROGRESS', 'PENDING_COMPLETION', 'CASEWORKER'),
    ('PENDING_COMPLETION', 'COMPLETED', 'CHAIR');

-- The functions below read across what the acting user sees, hence case_lookup. FOR SHARE asks for the
-- right to update some column.
GRANT USAGE, CREATE ON SCHEMA ops TO case_lookup;
GRANT SELECT ON ops.case_transitions TO case_lookup;
GRANT SELECT ON public.cases TO case_lookup;
GRANT UPDATE (updated_at) ON public.users TO case_lookup;

-- Volume: rows that were written together with their history are not sent through the workflow one by
-- one. Nobody gets past it by setting the parameter alone: see the two statement triggers.
CREATE FUNCTION ops.require_bulk_load() RETURNS trigger
LANGUAGE plpgsql SECURITY INVOKER
SET search_path = ''
AS $$
BEGIN
    IF (SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user) THEN
        RETURN NULL;
    END IF;
    -- From the catalog and not from the session, where anybody could set it.
    IF current_user <> 'case_seed' OR NOT EXISTS (
        SELECT FROM pg_catalog.pg_db_role_setting AS s
        JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
        WHERE d.datname = current_database() AND s.setrole = 0
          AND 'casedb.mark=development' = ANY (s.setconfig)
    ) THEN
        RAISE EXCEPTION 'a bulk load is refused'
            USING ERRCODE = 'insufficient_privilege',
                  DETAIL = 'Only case_seed loads past workflow and audit, and only into a database '
                           'that is marked development.',
                  HINT = 'RESET casedb.bulk_load; and write as a user.';
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION ops.require_bulk_load() IS 'Trigger: who may write with casedb.bulk_load = on.';

CREATE FUNCTION ops.acting_role() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SECURITY INVOKER
RETURN CASE current_setting('role')
    WHEN 'case_clerk' THEN 'CLERK'
    WHEN 'case_chair' THEN 'CHAIR'
    WHEN 'case_caseworker' THEN 'CASEWORKER'
END;
COMMENT ON FUNCTION ops.acting_role() IS
    'The role of the application that this transaction took; null for maintenance.';
GRANT EXECUTE ON FUNCTION ops.acting_role() TO case_lookup;

CREATE FUNCTION ops.guard_case() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ''
AS $$
DECLARE
    -- current_user is the owner of this function; the parameter says who called.
    acting CONSTANT text := ops.acting_role();
    old_status text;
    old_assignee uuid;
BEGIN
    IF tg_op = 'UPDATE' THEN
        old_status := old.status;
        old_assignee := old.assigned_to;
        IF (new.id, new.created_by, new.created_at)
            IS DISTINCT FROM (old.id, old.created_by, old.created_at)
        THEN
            RAISE EXCEPTION 'a case''s id, creator and time of creation never change'
                USING ERRCODE = 'check_violation', SCHEMA = 'public', TABLE = 'cases',
                      CONSTRAINT = 'cases_origin_fixed';
        END IF;
    END IF;

    -- Without a role of the application (maintenance) every way is open that is open to anybody.
    IF new.status IS DISTINCT FROM old_status AND NOT EXISTS (
        SELECT FROM ops.case_transitions AS t
        WHERE t.from_status IS NOT DISTINCT FROM old_status AND t.to_status = new.status
          AND (acting IS NULL OR t.role = acting)
    ) THEN
        RAISE EXCEPTION '%', CASE
                WHEN old_status IS NULL THEN format('a case cannot be created as %s', new.status)
                ELSE format('a case cannot go from %s to %s', old_status, new.status)
            END || CASE WHEN acting IS NULL THEN '' ELSE format(' by a %s', lower(acting)) END
            USING ERRCODE = 'check_violation', SCHEMA = 'public', TABLE = 'cases',
                  COLUMN = 'status', CONSTRAINT = 'cases_status_flow',
                  HINT = coalesce((
                      SELECT 'Allowed: ' || string_agg(ways.words, ', ' ORDER BY ways.words) || '.'
                      FROM (
                          SELECT format('%s (by a %s)', t.to_status,
                                        string_agg(lower(t.role), ' or ' ORDER BY t.role)) AS words
                          FROM ops.case_transitions AS t
                          WHERE t.from_status IS NOT DISTINCT FROM old_status
                          GROUP BY t.to_status
                      ) AS ways
                  ), format('%s is the end of the way.', old_status));
    END IF;

    IF new.assigned_to IS NOT DISTINCT FROM old_assignee THEN
        RETURN new;
    END IF;
    IF old_assignee IS NOT NULL AND (
        old_status = 'COMPLETED'
        OR current_setting('app.reassigned_case', true) IS DISTINCT FROM old.id::text
    ) THEN
        -- Two chairs assign the same case at the same time: the second one gets to know of it.
        RAISE EXCEPTION 'the case is assigned to somebody already'
            USING ERRCODE = 'check_violation', SCHEMA = 'public', TABLE = 'cases',
                  COLUMN = 'assigned_to', CONSTRAINT = 'cases_reassigned_explicitly',
                  HINT = CASE WHEN old_status = 'COMPLETED' THEN 'A completed case keeps its caseworker.'
                      ELSE 'To take it from one caseworker and give it to another: SELECT '
                           'public.reassign_case(case, from, to).' END;
    END IF;
    IF new.assigned_to IS NOT NULL THEN
        -- The lock keeps him active until this transaction ends. A weaker one would not: an UPDATE of
        -- is_active waits for FOR SHARE and not for FOR KEY SHARE.
        PERFORM FROM public.users AS u
        WHERE u.id = new.assigned_to AND u.role = 'CASEWORKER' AND u.is_active
        FOR SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the assignee is not an active caseworker'
                USING ERRCODE = 'check_violation', SCHEMA = 'public', TABLE = 'cases',
                      COLUMN = 'assigned_to', CONSTRAINT = 'cases_assignee_is_active_caseworker',
                      HINT = 'Assign the case to a user who is active and whose role is CASEWORKER.';
        END IF;
    END IF;
    RETURN new;
END
$$;
COMMENT ON FUNCTION ops.guard_case() IS 'Trigger: status flow, assignment, what never changes.';
ALTER FUNCTION ops.guard_case() OWNER TO case_lookup;

CREATE FUNCTION ops.guard_caseworker() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ''
AS $$
BEGIN
    -- In a higher isolation level this transaction's snapshot could be older than an assignment that
    -- it waited for, and would not show it.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'a caseworker is deactivated or given another role in READ COMMITTED only'
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'BEGIN ISOLATION LEVEL READ COMMITTED, and try again.';
    END IF;
    IF EXISTS (
        SELECT FROM public.cases AS c
        WHERE c.assigned_to = old.id AND c.status IN ('ASSIGNED', 'IN_PROGRESS', 'PENDING_COMPLETION')
    ) THEN
        RAISE EXCEPTION 'the caseworker still has open cases'
            USING ERRCODE = 'check_violation', SCHEMA = 'public', TABLE = 'users',
                  CONSTRAINT = 'users_no_open_cases_left',
                  HINT = 'Let a chair reassign them first: SELECT public.reassign_case(case, from, to).';
    END IF;
    RETURN new;
END
$$;
COMMENT ON FUNCTION ops.guard_caseworker() IS
    'Trigger: who has open cases stays an active caseworker.';
ALTER FUNCTION ops.guard_caseworker() OWNER TO case_lookup;
REVOKE CREATE ON SCHEMA ops FROM case_lookup;

CREATE FUNCTION public.reassign_case(case_id uuid, from_assignee uuid, to_assignee uuid)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = ''
AS $$
BEGIN
    PERFORM set_config('app.reassigned_case', reassign_case.case_id::text, true);
    UPDATE public.cases AS c SET assigned_to = to_assignee
    WHERE c.id = reassign_case.case_id AND c.assigned_to = from_assignee;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the case is not assigned to that caseworker'
            USING ERRCODE = 'no_data_found',
                  DETAIL = 'It may have been reassigned meanwhile, or you may not see it.',
                  HINT = 'Read the case again and decide anew.';
    END IF;
    PERFORM set_config('app.reassigned_case', '', true);
END
$$;
COMMENT ON FUNCTION public.reassign_case(uuid, uuid, uuid) IS
    'Take a case from one caseworker and give it to another; an error if it is not the first one''s.';
GRANT EXECUTE ON FUNCTION public.reassign_case(uuid, uuid, uuid) TO case_chair, case_seed;

CREATE TRIGGER cases_bulk_load BEFORE INSERT OR UPDATE ON public.cases
    FOR EACH STATEMENT WHEN (current_setting('casedb.bulk_load', true) = 'on')
    EXECUTE FUNCTION ops.require_bulk_load();

-- WHEN spares the call where nothing of this changes. Not UPDATE OF status, which would not see what
-- another trigger changes. And not one comparison of two rows, which PostgreSQL prints in one way
-- before a restore and in another after it.
CREATE TRIGGER cases_guard_insert BEFORE INSERT ON public.cases
    FOR EACH ROW WHEN (current_setting('casedb.bulk_load', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION ops.guard_case();
CREATE TRIGGER cases_guard_update BEFORE UPDATE ON public.cases
    FOR EACH ROW WHEN (
        (
            old.status IS DISTINCT FROM new.status
            OR old.assigned_to IS DISTINCT FROM new.assigned_to
            OR old.id <> new.id
            OR old.created_by <> new.created_by
            OR old.created_at <> new.created_at
        )
        AND current_setting('casedb.bulk_load', true) IS DISTINCT FROM 'on'
    )
    EXECUTE FUNCTION ops.guard_case();
CREATE TRIGGER users_guard_caseworker BEFORE UPDATE ON public.users
    FOR EACH ROW WHEN (
        old.role = 'CASEWORKER' AND old.is_active
        AND NOT (new.role = 'CASEWORKER' AND new.is_active)
    )
    EXECUTE FUNCTION ops.guard_caseworker();
