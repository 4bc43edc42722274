-- An index is invalid.
-- A CREATE INDEX CONCURRENTLY was killed or failed: every write maintains it, no query uses it.
-- hint: `casedb migrate repair` drops or rebuilds it.
SELECT x.indexrelid::regclass::text, 'on ' || x.indrelid::regclass
FROM pg_catalog.pg_index AS x
JOIN pg_catalog.pg_class AS c ON c.oid = x.indexrelid AND c.relkind = 'i'
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT (x.indisvalid AND x.indisready AND x.indislive) AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  -- Not one that is being built at this moment.
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_stat_progress_create_index AS p WHERE p.relid = x.indrelid
  );
