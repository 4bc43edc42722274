-- How PgBouncer learns with what a client's password has to agree: its auth_query calls this function.
--
-- Run as a superuser, after 20-database.sql; a second run changes nothing.

BEGIN;

LOCK TABLE pg_catalog.pg_authid IN SHARE ROW EXCLUSIVE MODE;

-- Only a superuser reads verifiers, so it lends its rights, for as little as will do: those of the one
-- role whose statements go through a pooler, and to the pooler alone. Whoever has the pooler's
-- password learns no other verifier.
CREATE OR REPLACE FUNCTION ops.pooler_login(INOUT login name, OUT verifier text)
RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = ''
ROWS 1
AS $$
    SELECT a.rolname, a.rolpassword
    FROM pg_catalog.pg_authid AS a
    WHERE a.rolname = pooler_login.login
      AND a.rolname = 'case_app'
      AND a.rolcanlogin
      AND a.rolpassword LIKE 'SCRAM-SHA-256$%'
      AND coalesce(a.rolvaliduntil > pg_catalog.now(), true)
$$;

COMMENT ON FUNCTION ops.pooler_login(name) IS
    'PgBouncer''s auth_query: the verifier of case_app; no row for anybody else.';
REVOKE ALL ON FUNCTION ops.pooler_login(name) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ops.pooler_login(name) TO case_pooler;
GRANT USAGE ON SCHEMA ops TO case_pooler;

COMMIT;
