-- The live columns of the given tables, each with the type below its domains, in the order in which a
-- restore makes them: their own, but those that a table inherits come first, parent by parent, whenever
-- they were added. Of a partition they are not inherited in that sense: pg_dump keeps its own order.
WITH RECURSIVE
lineage AS (
    SELECT given AS heir, given AS ancestor, '{}'::int[] AS path
    FROM unnest(%s::bigint[]::oid[]) AS given
    UNION ALL
    SELECT l.heir, i.inhparent, l.path || i.inhseqno
    FROM lineage AS l
    JOIN pg_class AS c ON c.oid = l.ancestor AND NOT c.relispartition
    JOIN pg_inherits AS i ON i.inhrelid = c.oid
),
-- Where a column was first defined: what comes from a table's first parent is before what comes from
-- its second, and its own are last.
places AS (
    SELECT l.heir, a.attname, min(l.path || ARRAY[2147483647, a.attnum]) AS place
    FROM lineage AS l
    JOIN pg_class AS c ON c.oid = l.ancestor
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        AND (a.attinhcount = 0 OR c.relispartition)
    GROUP BY l.heir, a.attname
),
base AS (
    SELECT p.heir, p.place, a.attname, a.atttypid AS type, false AS is_domain
    FROM places AS p
    JOIN pg_attribute AS a ON a.attrelid = p.heir AND a.attname = p.attname
    UNION ALL
    SELECT b.heir, b.place, b.attname, t.typbasetype, true
    FROM base AS b
    JOIN pg_type AS t ON t.oid = b.type AND t.typtype = 'd'
)
SELECT b.heir::bigint, b.attname, b.type::bigint, b.is_domain
FROM base AS b
JOIN pg_type AS t ON t.oid = b.type AND t.typtype <> 'd'
ORDER BY b.heir, b.place;
