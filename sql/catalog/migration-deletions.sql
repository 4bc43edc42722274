-- Tables from which this very transaction has deleted rows, and how many.
SELECT relid::bigint, n_tup_del
FROM pg_catalog.pg_stat_xact_user_tables
WHERE n_tup_del > 0 AND schemaname <> 'ops' AND schemaname !~ '^pg_';
