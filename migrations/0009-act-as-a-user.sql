-- How the back end acts for a user: identity and database role, for one transaction.
-- depends: 0008-grant-access

-- Whoever looks a user up does so before anybody acts, so row security would show nothing, also not to
-- the owner. These two functions belong to case_lookup, which row security does not bind, which may
-- read these columns and which nobody logs in as.
GRANT SELECT (id, email, password, role, first_name, last_name, is_active)
    ON public.users TO case_lookup;

CREATE FUNCTION public.role_of_user(user_id uuid) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = ''
AS $$
BEGIN
    RETURN (
        SELECT u.role FROM public.users AS u WHERE u.id = role_of_user.user_id AND u.is_active
    );
END
$$;

COMMENT ON FUNCTION public.role_of_user(uuid) IS
    'CLERK, CHAIR or CASEWORKER; null for a user who is unknown or not active.';
ALTER FUNCTION public.role_of_user(uuid) OWNER TO case_lookup;

CREATE FUNCTION public.login(email text)
RETURNS TABLE (id uuid, role text, password text, first_name text, last_name text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = ''
AS $$
BEGIN
    RETURN QUERY
    SELECT u.id, u.role::text, u.password, u.first_name, u.last_name
    FROM public.users AS u
    WHERE u.email = lower(login.email COLLATE "C") AND u.is_active;
END
$$;

COMMENT ON FUNCTION public.login(text) IS
    'Who logs in with this e-mail, and the hash to check the password against; no row if nobody may.';
ALTER FUNCTION public.login(text) OWNER TO case_lookup;

-- SECURITY INVOKER: PostgreSQL lets no SECURITY DEFINER function change the role, and the role can
-- only be one that the session's own login may become.
CREATE FUNCTION public.act_as(user_id text) RETURNS text
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
            USING ERRCODE = 'invalid_authorization_specification',
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

COMMENT ON FUNCTION public.act_as(text) IS
    'Act for this user until the transaction ends; returns the database role taken.';

CREATE FUNCTION public.act_as_claims(claims jsonb) RETURNS text
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
            USING ERRCODE = 'invalid_authorization_specification',
                  HINT = 'Let the user log in again.';
    END IF;
    taken := public.act_as(claims ->> 'sub');
    -- A token that was issued before the user's role changed must not be taken for the new role.
    IF claims ? 'role' AND taken IS DISTINCT FROM 'case_' || lower(claims ->> 'role') THEN
        RAISE EXCEPTION 'the token names another role than the user has'
            USING ERRCODE = 'invalid_authorization_specification',
                  HINT = 'Let the user log in again.';
    END IF;
    RETURN taken;
END
$$;

COMMENT ON FUNCTION public.act_as_claims(jsonb) IS
    'act_as() for the "sub" of a JWT whose signature the back end has verified.';

-- Once more for the three roles: saying the same user again is no error.
GRANT EXECUTE ON FUNCTION
    public.role_of_user(uuid), public.act_as(text), public.act_as_claims(jsonb)
    TO case_app, case_clerk, case_chair, case_caseworker;
-- Not for the three roles: whoever acts for a user is past the login.
GRANT EXECUTE ON FUNCTION public.login(text) TO case_app;
