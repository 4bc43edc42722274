-- One index: its schema and name, whether it can be used, and the process that builds it at this moment.
SELECT n.nspname, c.relname, i.indisvalid AND i.indisready AND i.indislive, p.pid
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_stat_progress_create_index AS p ON p.index_relid = i.indexrelid
WHERE i.indexrelid = to_regclass(%s);
