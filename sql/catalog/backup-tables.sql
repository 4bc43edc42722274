-- What a dump of the connected database reads: tables, partitioned tables, materialized views. Left out are
-- foreign tables, whose rows are elsewhere, and what an extension brought, which comes back with CREATE EXTENSION:
-- but for its configuration tables, whose rows (those of its condition, if it has one) pg_dump writes.
WITH configuration AS (
    SELECT given.oid, e.extname, given.condition
    FROM pg_extension AS e
    CROSS JOIN LATERAL unnest(e.extconfig, e.extcondition) AS given (oid, condition)
)
SELECT c.oid::bigint, n.nspname, c.relname, c.relkind::text, c.relispopulated,
       f.extname, coalesce(f.condition, '')
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN configuration AS f ON f.oid = c.oid AND c.relkind <> 'm'
WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't'
  AND (
      f.oid IS NOT NULL
      OR n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT EXISTS (
          SELECT FROM pg_depend AS d
          WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
      )
  )
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C";
