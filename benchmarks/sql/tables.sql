-- Every table with rows of its own: schema, name, bytes, pages; the largest first.
SELECT n.nspname, c.relname, pg_catalog.pg_relation_size(c.oid), c.relpages
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY 3 DESC
