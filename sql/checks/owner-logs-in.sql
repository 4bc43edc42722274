-- A role that owns tables can log in.
-- The owner can switch row security and triggers off and drop everything; nobody should arrive as him.
-- hint: ALTER ROLE ... NOLOGIN, and let a login role become it for migrations only.
SELECT r.rolname::text, string_agg(DISTINCT c.oid::regclass::text, ', ')
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_roles AS r ON r.oid = c.relowner
WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND r.rolcanlogin
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend AS d
      WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
  )
GROUP BY r.rolname;
