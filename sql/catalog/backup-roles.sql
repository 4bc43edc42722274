-- The roles that own something in the connected database, were granted something in it or have
-- settings for it, with everybody they are members of and everybody who is a member of them.
-- Left out: the server's first superuser and PostgreSQL's own roles, which every server has.
WITH RECURSIVE here AS (
    SELECT oid FROM pg_database WHERE datname = current_database()
),
named (oid) AS (
    SELECT s.refobjid
    FROM pg_shdepend AS s, here
    WHERE s.refclassid = 'pg_authid'::regclass
      AND (s.dbid = here.oid OR (s.classid = 'pg_database'::regclass AND s.objid = here.oid))
    UNION
    SELECT s.setrole FROM pg_db_role_setting AS s, here WHERE s.setdatabase = here.oid
    UNION
    SELECT CASE WHEN m.roleid = n.oid THEN m.member ELSE m.roleid END
    FROM named AS n
    JOIN pg_auth_members AS m ON n.oid IN (m.roleid, m.member)
    -- Everybody is related by way of pg_monitor and its like; that is not what is meant.
    WHERE n.oid >= 16384
)
SELECT r.rolname AS name,
       r.rolcanlogin AS can_login,
       r.rolinherit AS inherits,
       r.rolcreaterole AS create_role,
       r.rolcreatedb AS create_db,
       r.rolbypassrls AS bypass_rls,
       r.rolreplication AS replication,
       r.rolsuper AS superuser,
       ARRAY(
           SELECT DISTINCT g.rolname::text
           FROM pg_auth_members AS m
           JOIN pg_roles AS g ON g.oid = m.roleid
           WHERE m.member = r.oid
           ORDER BY 1
       ) AS member_of
FROM pg_roles AS r
WHERE r.oid IN (SELECT oid FROM named) AND r.oid >= 16384
ORDER BY r.rolname COLLATE "C";
