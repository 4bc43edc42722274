-- The tables of the application and their columns, as the runner compares them before and after.
SELECT
    c.oid::bigint,
    format('%I.%I', n.nspname, c.relname),
    pg_catalog.pg_relation_filenode(c.oid)::bigint,
    array_agg(a.attnum::int ORDER BY a.attnum) FILTER (WHERE a.attnum IS NOT NULL),
    array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attnum IS NOT NULL),
    array_agg(pg_catalog.format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum)
        FILTER (WHERE a.attnum IS NOT NULL)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind = 'r' AND n.nspname <> 'ops' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
GROUP BY c.oid, n.nspname, c.relname;
