-- Who owns the connected database, who may enter it, and the schema `ops` for the migrations' records.
--
-- Run as a superuser, after 10-roles.sql; a second run changes nothing.

BEGIN;

-- As in 10-roles.sql: one run at a time on the whole server; databases are rows of a shared catalog too.
LOCK TABLE pg_catalog.pg_authid IN SHARE ROW EXCLUSIVE MODE;

DO $database$
DECLARE
    name CONSTANT name := current_database();
BEGIN
    IF (SELECT datdba FROM pg_catalog.pg_database WHERE datname = name) <> 'case_owner'::regrole THEN
        EXECUTE format('ALTER DATABASE %I OWNER TO case_owner', name);
    END IF;
    -- PUBLIC may connect to any new database and make temporary tables in it.
    EXECUTE format(
        'REVOKE ALL ON DATABASE %I FROM PUBLIC, case_clerk, case_chair, case_caseworker,'
        ' case_migrator, case_app, case_seed, case_backup, case_readonly, case_monitor, case_pooler',
        name
    );
    EXECUTE format(
        'GRANT CONNECT ON DATABASE %I TO'
        ' case_migrator, case_app, case_seed, case_backup, case_readonly, case_monitor, case_pooler',
        name
    );
END
$database$;

-- The tables. Databases made from an old template let PUBLIC create here; without USAGE, a new role
-- cannot even look until it is given its place.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
REVOKE CREATE ON SCHEMA public FROM
    case_clerk, case_chair, case_caseworker,
    case_migrator, case_app, case_seed, case_backup, case_readonly, case_monitor, case_pooler;
-- Only who may create in a schema can be given a function there, and migrations give it some.
GRANT USAGE, CREATE ON SCHEMA public TO case_lookup;
GRANT USAGE ON SCHEMA public TO
    case_clerk, case_chair, case_caseworker, case_app, case_seed, case_readonly;
-- The owner by name, and not only by way of pg_database_owner: migrations stay possible where
-- an administrator gave the schema to somebody else.
GRANT USAGE, CREATE ON SCHEMA public TO case_owner;

-- The migrations' own records, apart from the tables that the application's tools compare.
CREATE SCHEMA IF NOT EXISTS ops AUTHORIZATION case_owner;
ALTER SCHEMA ops OWNER TO case_owner;
COMMENT ON SCHEMA ops IS 'Records of migrations and operations; no case data.';
REVOKE ALL ON SCHEMA ops FROM PUBLIC;
-- case_migrator by name too: it inherits nothing, and asks for the status before it becomes the owner.
GRANT USAGE ON SCHEMA ops TO case_migrator, case_monitor, case_readonly;
GRANT SELECT ON ALL TABLES IN SCHEMA ops TO case_migrator, case_monitor, case_readonly;
ALTER DEFAULT PRIVILEGES FOR ROLE case_owner IN SCHEMA ops
    GRANT SELECT ON TABLES TO case_migrator, case_monitor, case_readonly;

-- PostgreSQL lets everybody execute every new function. Whoever may is named in a migration.
ALTER DEFAULT PRIVILEGES FOR ROLE case_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

COMMIT;
