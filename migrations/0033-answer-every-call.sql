-- What the back end calls returns something, and what it is refused arrives with its hint.
-- depends: 0032-search-by-the-policies

-- Clients that read the void of these three with $executeRaw go on doing so.
-- squawk-ignore-file ban-drop-function

-- Prisma's adapter keeps of SQLSTATE 28000 nothing but the code (it takes it for a failed connection), so who
-- may not act is told with 0P000.
CREATE OR REPLACE FUNCTION public.act_as(user_id text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = ''
AS $$
DECLARE
    -- The text that every uuid prints; everything else is no id, and no cast may say so differently.
    wanted CONSTANT uuid := CASE
        WHEN user_id ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN user_id::uuid
    END;
    app_role CONSTANT text := public.role_of_user(wanted);
    new_role CONSTANT text := 'case_' || lower(app_role);
BEGIN
    IF app_role IS NULL THEN
        RAISE EXCEPTION 'nobody may act as user "%"', coalesce(user_id, '')
            USING ERRCODE = 'invalid_role_specification',
                  DETAIL = 'The user is unknown or not active, or this is no user''s id.',
                  HINT = 'Let the user log in again; nothing can be seen or changed without a user.';
    END IF;
    IF current_user IN ('case_clerk', 'case_chair', 'case_caseworker')
        AND public.current_user_id() IS DISTINCT FROM wanted
    THEN
        RAISE EXCEPTION 'this transaction acts for another user already'
            USING ERRCODE = 'active_sql_transaction',
                  HINT = 'One transaction, one user: end it, and begin another one with act_as().';
    END IF;
    PERFORM set_config('app.user_id', wanted::text, true);
    PERFORM set_config('role', new_role, true);
    RETURN new_role;
END
$$;

CREATE OR REPLACE FUNCTION public.act_as_claims(claims jsonb) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = ''
AS $$
DECLARE
    taken text;
BEGIN
    -- NumericDate (RFC 7519): seconds. A minute of leeway, as the clocks are two.
    IF jsonb_typeof(claims -> 'exp') = 'number'
        AND (claims ->> 'exp')::numeric + 60 < extract(epoch FROM clock_timestamp())
    THEN
        RAISE EXCEPTION 'the token has expired'
            USING ERRCODE = 'invalid_role_specification',
                  HINT = 'Let the user log in again.';
    END IF;
    taken := public.act_as(claims ->> 'sub');
    -- A token that was issued before the user's role changed must not be taken for the new role.
    IF claims ? 'role' AND taken IS DISTINCT FROM 'case_' || lower(claims ->> 'role') THEN
        RAISE EXCEPTION 'the token names another role than the user has'
            USING ERRCODE = 'invalid_role_specification',
                  HINT = 'Let the user log in again.';
    END IF;
    RETURN taken;
END
$$;

CREATE OR REPLACE FUNCTION audit.actor(otherwise uuid) RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY INVOKER
SET search_path = ''
AS $$
DECLARE
    found CONSTANT uuid := coalesce(public.current_user_id(), otherwise);
BEGIN
    IF found IS NULL THEN
        RAISE EXCEPTION 'the log has to say who does this, and nobody was named'
            USING ERRCODE = 'invalid_role_specification',
                  HINT = 'The back end calls act_as(); for maintenance: '
                         'SELECT set_config(''app.user_id'', ''<id of the responsible user>'', true).';
    END IF;
    RETURN found;
END
$$;

-- Prisma's $queryRaw cannot read void. Returned is the id of what was changed.
DROP FUNCTION public.reassign_case(uuid, uuid, uuid);
CREATE FUNCTION public.reassign_case(case_id uuid, from_assignee uuid, to_assignee uuid)
RETURNS uuid
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
    RETURN reassign_case.case_id;
END
$$;
COMMENT ON FUNCTION public.reassign_case(uuid, uuid, uuid) IS
    'Take a case from one caseworker and give it to another; an error if it is not the first one''s.';
GRANT EXECUTE ON FUNCTION public.reassign_case(uuid, uuid, uuid) TO case_chair, case_seed;

DROP FUNCTION public.erase_comment(uuid);
CREATE FUNCTION public.erase_comment(comment_id uuid) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = ''
AS $$
BEGIN
    PERFORM audit.actor(NULL);
    UPDATE public.case_comments AS c SET body = NULL
    WHERE c.id = comment_id AND c.body IS NOT NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no such comment, or it is erased already'
            USING ERRCODE = 'no_data_found';
    END IF;
    RETURN comment_id;
END
$$;
COMMENT ON FUNCTION public.erase_comment(uuid) IS
    'Erases the text of a comment for good; the log keeps that there was one. For chairs.';
ALTER FUNCTION public.erase_comment(uuid) OWNER TO case_lookup;

DROP FUNCTION public.erase_case(uuid);
CREATE FUNCTION public.erase_case(case_id uuid) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = ''
AS $$
DECLARE
    who CONSTANT uuid := audit.actor(NULL);
BEGIN
    UPDATE public.cases AS c SET title = '(erased)', description = '' WHERE c.id = erase_case.case_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no such case' USING ERRCODE = 'no_data_found';
    END IF;
    UPDATE public.case_comments AS m SET body = NULL
    WHERE m.case_id = erase_case.case_id AND m.body IS NOT NULL;
    UPDATE public.case_documents AS d SET filename = '(erased)' WHERE d.case_id = erase_case.case_id;
    DELETE FROM audit.salts AS s WHERE s.subject = erase_case.case_id;
    INSERT INTO public.case_logs (case_id, user_id, action) VALUES (erase_case.case_id, who, 'erased');
    RETURN erase_case.case_id;
END
$$;
COMMENT ON FUNCTION public.erase_case(uuid) IS
    'Erases all free text of a case for good; its log stays whole. The files in S3 are not touched.';
ALTER FUNCTION public.erase_case(uuid) OWNER TO case_lookup;
GRANT EXECUTE ON FUNCTION public.erase_comment(uuid), public.erase_case(uuid)
    TO case_chair, case_seed;

-- A user is erased by what is left of him: an address that nobody has. The log's trigger knows it, so
-- that the salt of the digests of his former addresses goes with them, and no further role may write users.
CREATE OR REPLACE FUNCTION audit.log_user() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = ''
AS $$
BEGIN
    IF tg_op = 'DELETE' THEN
        INSERT INTO audit.user_logs (user_id, action) VALUES (old.id, 'deleted');
        DELETE FROM audit.salts AS s WHERE s.subject = old.id;
        RETURN NULL;
    END IF;
    IF tg_op = 'INSERT' THEN
        INSERT INTO audit.user_logs (user_id, action, details)
        VALUES (new.id, 'created', jsonb_build_object(
            'role', new.role, 'is_active', new.is_active, 'email', audit.digest(new.id, new.email)));
        RETURN NULL;
    END IF;
    IF new.role IS DISTINCT FROM old.role THEN
        INSERT INTO audit.user_logs (user_id, action, details)
        VALUES (new.id, 'role_changed', jsonb_build_object('from', old.role, 'to', new.role));
    END IF;
    IF new.is_active IS DISTINCT FROM old.is_active THEN
        INSERT INTO audit.user_logs (user_id, action)
        VALUES (new.id, CASE WHEN new.is_active THEN 'activated' ELSE 'deactivated' END);
    END IF;
    IF new.email <> old.email AND new.email = new.id || '@erased.invalid' THEN
        INSERT INTO audit.user_logs (user_id, action) VALUES (new.id, 'erased');
        DELETE FROM audit.salts AS s WHERE s.subject = new.id;
    ELSIF new.email IS DISTINCT FROM old.email THEN
        INSERT INTO audit.user_logs (user_id, action, details)
        VALUES (new.id, 'email_changed', jsonb_build_object(
            'from', audit.digest(new.id, old.email), 'to', audit.digest(new.id, new.email)));
    END IF;
    IF new.password IS DISTINCT FROM old.password THEN
        INSERT INTO audit.user_logs (user_id, action) VALUES (new.id, 'password_changed');
    END IF;
    RETURN NULL;
END
$$;

-- INVOKER: case_seed maintains the users.
CREATE FUNCTION public.erase_user(user_id uuid) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = ''
AS $$
BEGIN
    UPDATE public.users AS u
    SET email = u.id || '@erased.invalid',
        -- The form of a hash, and no password's.
        password = '$2b$10$' || repeat('.', 53),
        first_name = '(erased)', last_name = '(erased)', is_active = false
    WHERE u.id = erase_user.user_id AND u.email <> u.id || '@erased.invalid';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no such user, or he is erased already'
            USING ERRCODE = 'no_data_found';
    END IF;
    RETURN erase_user.user_id;
END
$$;
COMMENT ON FUNCTION public.erase_user(uuid) IS
    'Erases name, e-mail and password of a user for good and deactivates him; all logs stay whole.';
GRANT EXECUTE ON FUNCTION public.erase_user(uuid) TO case_seed;
