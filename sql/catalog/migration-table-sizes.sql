-- How large the application's tables are: rows as estimated (null: nobody has counted yet), bytes of the
-- rows, and of everything including indexes. Only those asked for (null: all): each is locked for a moment.
SELECT
    c.oid::bigint,
    format('%%I.%%I', n.nspname, c.relname),
    CASE
        WHEN pg_catalog.pg_relation_size(c.oid) = 0 THEN 0
        -- As the planner does it: the density that ANALYZE found, and the size of today.
        WHEN c.relpages > 0
            THEN c.reltuples / c.relpages * (pg_catalog.pg_relation_size(c.oid) / current_setting('block_size')::int)
        ELSE nullif(s.n_live_tup, 0)
    END::bigint,
    pg_catalog.pg_relation_size(c.oid),
    pg_catalog.pg_total_relation_size(c.oid)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_stat_all_tables AS s ON s.relid = c.oid
WHERE c.relkind = 'r' AND n.nspname <> 'ops' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  AND (%(oids)s::bigint[] IS NULL OR c.oid::bigint = ANY (%(oids)s::bigint[]))
ORDER BY 2;
