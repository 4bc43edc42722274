-- How often this transaction has begun a sequential scan of each table, functions included, and the
-- table's size: EXPLAIN does not look into a function, these counters do.
SELECT
    c.relname::text AS table_name,
    pg_catalog.pg_stat_get_xact_numscans(c.oid) AS scans,
    pg_catalog.pg_relation_size(c.oid) / 8192 AS pages
FROM pg_catalog.pg_class AS c
WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY(%s)
