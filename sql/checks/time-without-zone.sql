-- A column has a time without a time zone.
-- What it means depends on the settings of whoever wrote it; nobody can tell later.
-- hint: Use timestamptz.
SELECT format('%I.%I', n.nspname, c.relname), a.attname::text
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE a.attnum > 0 AND NOT a.attisdropped AND a.atttypid = 'timestamp'::regtype AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  -- The migration tool's own tables, whose columns say UTC.
  AND n.nspname <> 'ops';
