-- Indexes that cannot be used, left by a CREATE INDEX CONCURRENTLY that was killed or failed: written
-- to with every row, never read. Those being built at this moment are not among them.
SELECT n.nspname, c.relname, format('%I.%I', n.nspname, t.relname)
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_class AS t ON t.oid = i.indrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT (i.indisvalid AND i.indisready AND i.indislive)
  -- On a partitioned table an index is invalid until every partition has its own.
  AND c.relkind = 'i'
  AND NOT EXISTS (
      SELECT FROM pg_stat_progress_create_index AS p
      WHERE p.index_relid = i.indexrelid OR (p.relid = i.indrelid AND p.index_relid = 0)
  )
ORDER BY 1, 2;
