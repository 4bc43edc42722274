-- What the matrix does not speak of: tables and views of schema public, and functions there that lend
-- the rights of their owner, which it does not know (no grantee), and rights of roles it does not know.
-- Left out are the owner's own rights, those of a superuser, who needs none, and functions of
-- triggers, which nobody can call.
WITH relation AS (
    SELECT c.oid, c.relname, c.relkind, c.relacl, c.relowner
    FROM pg_catalog.pg_class AS c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
),

function AS (
    SELECT p.proname, p.proacl, p.proowner
    FROM pg_catalog.pg_proc AS p
    WHERE p.pronamespace = 'public'::regnamespace
      AND p.prosecdef AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
),

granted AS (
    SELECT r.relname::text AS target, r.relowner AS owner, r.relacl AS acl
    FROM relation AS r
    UNION ALL
    SELECT r.relname, r.relowner, t.attacl
    FROM relation AS r
    JOIN pg_catalog.pg_attribute AS t ON t.attrelid = r.oid AND t.attacl IS NOT NULL
    UNION ALL
    SELECT f.proname || '()', f.proowner, coalesce(f.proacl, acldefault('f', f.proowner))
    FROM function AS f
)

SELECT r.relname AS target, '' AS grantee
FROM relation AS r
WHERE r.relkind <> 'S' AND r.relname <> ALL (%(tables)s)
UNION
SELECT f.proname || '()', ''
FROM function AS f
WHERE f.proname <> ALL (%(functions)s)
UNION
SELECT g.target, coalesce(a.rolname, 'PUBLIC')
FROM granted AS g
CROSS JOIN LATERAL aclexplode(g.acl) AS item
LEFT JOIN pg_catalog.pg_roles AS a ON a.oid = item.grantee
WHERE item.grantee <> g.owner
  AND coalesce(a.rolname, 'PUBLIC') <> ALL (%(roles)s)
  AND NOT coalesce(a.rolsuper, false)
ORDER BY 1, 2
