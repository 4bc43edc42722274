-- The roles of the case management database, their attributes and what each is a member of.
--
-- Run as a superuser, before the first migration and whenever a server may have drifted: a second
-- run changes nothing, and what somebody changed by hand (SUPERUSER, INHERIT, a membership more) is
-- put back. Passwords, connection limits, expiry dates and settings are left as they are, but for one. Whoever else was
-- made a member OF one of these roles stays one: that is how people get in.

BEGIN;

-- Roles belong to the whole server, advisory locks to one database only. A lock on the shared catalog
-- keeps two runs apart wherever they are connected; logins only read it and do not wait.
LOCK TABLE pg_catalog.pg_authid IN SHARE ROW EXCLUSIVE MODE;

DO $roles$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT w.*, a.oid AS found, a.rolcanlogin, a.rolinherit, a.rolbypassrls,
               a.rolsuper OR a.rolcreatedb OR a.rolcreaterole OR a.rolreplication AS too_mighty
        FROM (VALUES
            -- login: may connect; inherit: uses its memberships without SET ROLE;
            -- sees_all: row security does not apply.
            ('case_owner', false, true, false, 'Owns the database and everything in it; nobody logs in as this role.'),
            ('case_lookup', false, false, true, 'Owns the functions that look users up and write the audit trail: sees all users and cases.'),
            ('case_clerk', false, false, false, 'A clerk of the application: sees the cases he created.'),
            ('case_chair', false, false, false, 'A chair of the application: sees all cases and assigns them.'),
            ('case_caseworker', false, false, false, 'A caseworker of the application: sees the cases assigned to him.'),
            -- NOINHERIT: what is created without becoming the owner first would have the wrong owner.
            ('case_migrator', true, false, false, 'Applies migrations as case_owner, and changes data in them as case_seed.'),
            -- NOINHERIT: the three roles above differ in what they see; none of it holds before SET ROLE.
            ('case_app', true, false, false, 'The back end: becomes case_clerk, case_chair or case_caseworker for one transaction.'),
            ('case_seed', true, false, true, 'Loads sample data and maintains the users, for all of them at once.'),
            -- Without BYPASSRLS a dump under row security fails or is silently partial.
            ('case_backup', true, true, true, 'Dumps the database: reads everything, changes nothing.'),
            ('case_readonly', true, false, true, 'Reports and analysts: reads everything except the password hashes.'),
            ('case_monitor', true, true, false, 'Monitoring: statistics and the record of migrations, no case data.'),
            ('case_pooler', true, false, false, 'PgBouncer: asks for the verifier of case_app, and nothing else.')
        ) AS w (name, login, inherit, sees_all, purpose)
        LEFT JOIN pg_catalog.pg_roles AS a ON a.rolname = w.name
    LOOP
        IF wanted.found IS NULL THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted.name);
        END IF;
        IF wanted.too_mighty IS NOT FALSE
            OR (wanted.rolcanlogin, wanted.rolinherit, wanted.rolbypassrls)
                IS DISTINCT FROM (wanted.login, wanted.inherit, wanted.sees_all)
        THEN
            EXECUTE format(
                'ALTER ROLE %I NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION %s %s %s',
                wanted.name,
                CASE WHEN wanted.login THEN 'LOGIN' ELSE 'NOLOGIN' END,
                CASE WHEN wanted.inherit THEN 'INHERIT' ELSE 'NOINHERIT' END,
                CASE WHEN wanted.sees_all THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END
            );
        END IF;
        IF shobj_description(to_regrole(wanted.name), 'pg_authid') IS DISTINCT FROM wanted.purpose THEN
            EXECUTE format('COMMENT ON ROLE %I IS %L', wanted.name, wanted.purpose);
        END IF;
    END LOOP;
END
$roles$;

DO $memberships$
DECLARE
    -- member: the roles it is a member of. Whether it inherits them is the member's own attribute.
    wanted CONSTANT jsonb := '{
        "case_owner": ["pg_read_all_stats", "case_lookup"],
        "case_lookup": [],
        "case_clerk": [],
        "case_chair": [],
        "case_caseworker": [],
        "case_migrator": ["case_owner", "case_seed"],
        "case_app": ["case_clerk", "case_chair", "case_caseworker"],
        "case_seed": [],
        "case_backup": ["pg_read_all_data", "pg_read_all_stats"],
        "case_readonly": [],
        "case_monitor": ["pg_monitor"],
        "case_pooler": []
    }';
    -- Since 16 each membership has options of its own, and its grantor is part of its identity.
    has_options CONSTANT boolean := current_setting('server_version_num')::int >= 160000;
    difference record;
BEGIN
    FOR difference IN
        SELECT granted.rolname AS granted, member.rolname AS member, grantor.rolname AS grantor
        FROM pg_catalog.pg_auth_members AS m
        JOIN pg_catalog.pg_roles AS granted ON granted.oid = m.roleid
        JOIN pg_catalog.pg_roles AS member ON member.oid = m.member
        LEFT JOIN pg_catalog.pg_roles AS grantor ON grantor.oid = m.grantor
        WHERE wanted ? member.rolname
          -- By way of JSON, because 15 does not know the two columns of the options.
          AND NOT (
              wanted -> member.rolname ? granted.rolname
              AND NOT m.admin_option
              AND coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, member.rolinherit) = member.rolinherit
              AND coalesce((to_jsonb(m) ->> 'set_option')::boolean, true)
          )
    LOOP
        EXECUTE format('REVOKE %I FROM %I', difference.granted, difference.member)
            || CASE WHEN has_options THEN format(' GRANTED BY %I', difference.grantor) ELSE '' END
            || ' CASCADE';
    END LOOP;

    FOR difference IN
        SELECT granted.name AS granted, member.rolname AS member, member.rolinherit AS inherit
        FROM pg_catalog.pg_roles AS member
        CROSS JOIN LATERAL jsonb_array_elements_text(wanted -> member.rolname) AS granted (name)
        WHERE wanted ? member.rolname
          AND NOT EXISTS (
              SELECT FROM pg_catalog.pg_auth_members AS m
              WHERE m.member = member.oid AND m.roleid = to_regrole(granted.name)
          )
    LOOP
        EXECUTE format('GRANT %I TO %I', difference.granted, difference.member)
            || CASE WHEN has_options THEN format(' WITH ADMIN FALSE, INHERIT %s, SET TRUE', difference.inherit::text) ELSE '' END;
    END LOOP;
END
$memberships$;

-- Prisma's adapter takes every time for UTC without looking at its offset. As a connection option the setting
-- does not get through PgBouncer. Other settings of the role are left alone.
DO $settings$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_db_role_setting AS s
        WHERE s.setdatabase = 0 AND s.setrole = 'case_app'::regrole AND 'TimeZone=UTC' = ANY (s.setconfig)
    ) THEN
        ALTER ROLE case_app SET TimeZone = 'UTC';
    END IF;
END
$settings$;

COMMIT;
