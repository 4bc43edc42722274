-- Indexes that a CREATE INDEX CONCURRENTLY left behind unfinished: written to, never read.
SELECT i.indexrelid::regclass::text, c.relname
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE NOT i.indisvalid
ORDER BY 1;
