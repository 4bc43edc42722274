-- Tables of so many bytes and more whose rows sessions of ours can read. Left out: what an extension
-- brought; partitions of a hash, whose rows pg_dump may load through the root; what is not stored in
-- pages. Columns in pg_dump's order: generated ones are computed by a restore.
-- Plain are the types whose binary form has been the same since 9.4, and names no object: what has
-- OIDs in it (arrays of own types, composites, regclass) means something else in another database.
-- Only in UTF-8, because the session that tries which format is smaller speaks it.
WITH RECURSIVE plain AS (
    SELECT t.oid
    FROM pg_type AS t
    WHERE t.typtype = 'e'
       OR t.typnamespace = 'pg_catalog'::regnamespace AND t.typname IN (
           'bool', 'bytea', 'bpchar', 'text', 'varchar', 'json', 'jsonb', 'uuid', 'bit', 'varbit',
           'int2', 'int4', 'int8', 'float4', 'float8', 'numeric', 'cidr', 'inet', 'macaddr',
           'macaddr8', 'date', 'time', 'timetz', 'timestamp', 'timestamptz', 'interval'
       )
    UNION ALL
    SELECT d.oid
    FROM pg_type AS d
    JOIN plain ON plain.oid = d.typbasetype
    WHERE d.typtype = 'd'
)
SELECT n.nspname, c.relname, pg_relation_size(c.oid) / current_setting('block_size')::bigint,
       pg_table_size(c.oid), format('%%I.%%I', n.nspname, c.relname), a.columns, a.is_plain
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_am AS m ON m.oid = c.relam
CROSS JOIN LATERAL (
    SELECT array_agg(format('%%I', a.attname) ORDER BY a.attnum) AS columns,
           bool_and(a.atttypid IN (SELECT plain.oid FROM plain)) AND getdatabaseencoding() = 'UTF8'
               AS is_plain
    FROM pg_attribute AS a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
) AS a
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND m.amname = 'heap'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND pg_table_size(c.oid) >= %s
  AND a.columns IS NOT NULL
  AND NOT EXISTS (
      SELECT FROM pg_depend AS d
      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
  )
  AND NOT EXISTS (
      SELECT FROM pg_partition_ancestors(c.oid) AS a
      JOIN pg_partitioned_table AS p ON p.partrelid = a.relid
      WHERE p.partstrat = 'h'
  )
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C";
