-- What a migration may lock and others feel: tables and views of the application, by oid.
SELECT c.oid::bigint, format('%I.%I', n.nspname, c.relname)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f')
  AND n.nspname <> 'ops' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_';
