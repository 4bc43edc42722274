-- What the matrix does not speak of: tables and views of schema public, and functions there that lend
-- the rights of their owner, which it does not know (no grantee), and rights of roles it does not know.
-- Left out are the owner's own rights, those of a superuser, who needs none, functions of
-- triggers, which nobody can call, and what an extension brought with the rights that it gave.
-- And what the roles it knows, or all, were granted on PostgreSQL's own tables and functions.
WITH extension AS (
    SELECT d.classid, d.objid FROM pg_catalog.pg_depend AS d
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
),

relation AS (
    SELECT c.oid, c.relname, c.relkind, c.relacl, c.relowner,
        ('pg_class'::regclass, c.oid) IN (SELECT e.classid, e.objid FROM extension AS e) AS of_extension
    FROM pg_catalog.pg_class AS c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
),

function AS (
    SELECT p.oid, p.proname, p.proacl, p.proowner,
        ('pg_proc'::regclass, p.oid) IN (SELECT e.classid, e.objid FROM extension AS e) AS of_extension
    FROM pg_catalog.pg_proc AS p
    WHERE p.pronamespace = 'public'::regnamespace
      AND p.prosecdef AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
),

granted AS (
    SELECT 'pg_class'::regclass AS class, r.oid, r.relname::text AS target, r.relowner AS owner, r.relacl AS acl
    FROM relation AS r
    UNION ALL
    SELECT 'pg_class', r.oid, r.relname, r.relowner, t.attacl
    FROM relation AS r
    JOIN pg_catalog.pg_attribute AS t ON t.attrelid = r.oid AND t.attacl IS NOT NULL
    UNION ALL
    SELECT 'pg_proc', f.oid, f.proname || '()', f.proowner, coalesce(f.proacl, acldefault('f', f.proowner))
    FROM function AS f
    WHERE f.proacl IS NOT NULL OR NOT f.of_extension
)

SELECT r.relname AS target, '' AS grantee
FROM relation AS r
WHERE r.relkind <> 'S' AND NOT r.of_extension AND r.relname <> ALL (%(tables)s)
UNION
SELECT f.proname || '()', ''
FROM function AS f
WHERE NOT f.of_extension AND f.proname <> ALL (%(functions)s)
UNION
SELECT g.target, coalesce(a.rolname, 'PUBLIC')
FROM granted AS g
CROSS JOIN LATERAL aclexplode(g.acl) AS item
LEFT JOIN pg_catalog.pg_roles AS a ON a.oid = item.grantee
WHERE item.grantee <> g.owner
  AND coalesce(a.rolname, 'PUBLIC') <> ALL (%(roles)s)
  AND NOT coalesce(a.rolsuper, false)
  -- As the extension itself left it; what was granted since is a stranger.
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_init_privs AS i CROSS JOIN LATERAL aclexplode(i.initprivs) AS given
      WHERE i.classoid = g.class AND i.objoid = g.oid AND i.objsubid = 0 AND i.privtype = 'e'
        AND given.grantee = item.grantee AND given.privilege_type = item.privilege_type
  )
UNION
SELECT o.identity, coalesce(a.rolname, 'PUBLIC')
FROM (
    SELECT 'pg_class'::regclass AS class, c.oid, 0 AS number, c.relacl AS acl
    FROM pg_catalog.pg_class AS c
    WHERE c.relnamespace = 'pg_catalog'::regnamespace
    UNION ALL
    SELECT 'pg_class', t.attrelid, t.attnum, t.attacl
    FROM pg_catalog.pg_attribute AS t
    JOIN pg_catalog.pg_class AS c ON c.oid = t.attrelid AND c.relnamespace = 'pg_catalog'::regnamespace
    UNION ALL
    SELECT 'pg_proc', p.oid, 0, p.proacl
    FROM pg_catalog.pg_proc AS p
    WHERE p.pronamespace = 'pg_catalog'::regnamespace
) AS own
CROSS JOIN LATERAL aclexplode(own.acl) AS item
CROSS JOIN LATERAL pg_identify_object(own.class, own.oid, own.number) AS o
LEFT JOIN pg_catalog.pg_roles AS a ON a.oid = item.grantee
WHERE (item.grantee = 0 OR a.rolname = ANY (%(roles)s))
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_init_privs AS i CROSS JOIN LATERAL aclexplode(i.initprivs) AS given
      WHERE i.classoid = own.class AND i.objoid = own.oid AND i.objsubid = own.number
        AND given.grantee = item.grantee AND given.privilege_type = item.privilege_type
  )
  -- Everybody may call a function that nothing was ever said of.
  AND NOT (own.class = 'pg_proc'::regclass AND item.grantee = 0 AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_init_privs AS i WHERE i.classoid = own.class AND i.objoid = own.oid
  ))
ORDER BY 1, 2
