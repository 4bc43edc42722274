-- The live columns of the given tables in their order, each with the type below its domains.
WITH RECURSIVE base AS (
    SELECT a.attrelid, a.attnum, a.attname, a.atttypid AS type, false AS is_domain
    FROM pg_attribute AS a
    WHERE a.attrelid = ANY (%s::bigint[]::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT b.attrelid, b.attnum, b.attname, t.typbasetype, true
    FROM base AS b
    JOIN pg_type AS t ON t.oid = b.type AND t.typtype = 'd'
)
SELECT b.attrelid::bigint, b.attname, b.type::bigint, b.is_domain
FROM base AS b
JOIN pg_type AS t ON t.oid = b.type AND t.typtype <> 'd'
ORDER BY b.attrelid, b.attnum;
