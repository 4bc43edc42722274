-- Tables of so many bytes and more whose rows several sessions can read, each some of the pages. Left
-- out: what an extension brought; partitions of a hash, whose rows pg_dump may load through the root;
-- what is not stored in pages. Columns in pg_dump's order: generated ones are computed by a restore.
SELECT n.nspname, c.relname, pg_relation_size(c.oid) / current_setting('block_size')::bigint,
       pg_table_size(c.oid), format('%%I.%%I', n.nspname, c.relname),
       (
           SELECT array_agg(format('%%I', a.attname) ORDER BY a.attnum)
           FROM pg_attribute AS a
           WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
       ) AS columns
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_am AS m ON m.oid = c.relam
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND m.amname = 'heap'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND pg_table_size(c.oid) >= %s
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
