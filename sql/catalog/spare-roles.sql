-- Who was on the server before this script keeps what he has: attributes, password, comment, settings and security labels.
-- He is listed, and gets nothing either. All of it or none: a second run would take for old what a first one had half made.
BEGIN;

-- PostgreSQL's own roles and PUBLIC are on every server. They count where somebody was there who could get something by them:
-- anybody but superusers, who may do everything as it is.
CREATE TEMPORARY TABLE roles_there ON COMMIT DROP AS
WITH strangers AS (
    SELECT FROM pg_catalog.pg_roles WHERE oid >= 16384 AND NOT rolsuper
)
SELECT rolname::pg_catalog.text AS name
FROM pg_catalog.pg_roles
WHERE oid >= 16384 OR rolsuper OR EXISTS (SELECT FROM strangers)
UNION ALL
SELECT 'public' WHERE EXISTS (SELECT FROM strangers);

CREATE OR REPLACE PROCEDURE pg_temp.make_role(made text, statement text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF made IN (SELECT name FROM roles_there) THEN
        RAISE NOTICE 'role % was there and is left as it is', quote_ident(made);
    ELSE
        EXECUTE statement;
    END IF;
END
$$;

CREATE OR REPLACE PROCEDURE pg_temp.change_role(changed text, statement text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF changed NOT IN (SELECT name FROM roles_there) THEN
        EXECUTE statement;
    END IF;
END
$$;

-- It is the member who gets something: who is new gets into any role. Who was there gets into none, not even into one that
-- this script makes: the server may have dropped it, or have put him out, since it was written down.
CREATE OR REPLACE PROCEDURE pg_temp.grant_role(granted text, recipient text, grantor text, statement text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF recipient NOT IN (SELECT name FROM roles_there) THEN
        EXECUTE statement || coalesce(' GRANTED BY ' || quote_ident(grantor), '');
    ELSIF NOT EXISTS (
        SELECT FROM pg_auth_members AS m
        JOIN pg_roles AS r ON r.oid = m.roleid
        JOIN pg_roles AS u ON u.oid = m.member
        WHERE r.rolname = granted AND u.rolname = recipient
    ) THEN
        RAISE NOTICE 'left out, because % was there: %;', quote_ident(recipient), statement;
    END IF;
EXCEPTION
    -- Since PostgreSQL 16 a grantor has to be an admin of the role, and who was there may be none here.
    WHEN insufficient_privilege THEN
        IF grantor IS NULL OR grantor NOT IN (SELECT name FROM roles_there) THEN
            RAISE;
        END IF;
        EXECUTE statement;
END
$$;

CREATE OR REPLACE PROCEDURE pg_temp.grant_parameter(recipient text, statement text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF recipient NOT IN (SELECT name FROM roles_there) THEN
        EXECUTE statement;
    ELSE
        RAISE NOTICE 'left out, because % was there: %', quote_ident(recipient), statement;
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN
        IF session_user NOT IN (SELECT name FROM roles_there) THEN
            RAISE;
        END IF;
        RAISE NOTICE 'left out, because % may not do it here: %', quote_ident(session_user), statement;
END
$$;

-- A role that handed on what it may do to a parameter does so here in its own name.
GRANT SELECT ON pg_temp.roles_there TO PUBLIC;
GRANT EXECUTE ON PROCEDURE pg_temp.grant_parameter(text, text) TO PUBLIC;

