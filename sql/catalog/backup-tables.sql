-- What a dump of the connected database reads: tables, partitioned tables, materialized views.
-- Left out: what an extension brought, which comes back with CREATE EXTENSION, and foreign tables,
-- whose rows are elsewhere.
SELECT c.oid::bigint, n.nspname, c.relname, c.relkind::text, c.relispopulated
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (
      SELECT FROM pg_depend AS d
      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
  )
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C";
