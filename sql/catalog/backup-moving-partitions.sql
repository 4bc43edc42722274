-- Partitions whose rows may be in another one after a restore, each with the table that they are all
-- below: a hash of an enum is one of its OIDs, which are new in every database. pg_dump loads such
-- rows through the root, which spreads them anew.
WITH by_enum AS (
    SELECT p.partrelid
    FROM pg_partitioned_table AS p
    WHERE p.partstrat = 'h' AND EXISTS (
        SELECT FROM pg_opclass AS o
        WHERE o.oid = ANY (p.partclass) AND o.opcintype = 'anyenum'::regtype
    )
)
SELECT n.nspname, c.relname, root_schema.nspname, root.relname
FROM by_enum AS e
JOIN pg_class AS root ON root.oid = e.partrelid
JOIN pg_namespace AS root_schema ON root_schema.oid = root.relnamespace
CROSS JOIN pg_partition_tree(root.oid) AS below
JOIN pg_class AS c ON c.oid = below.relid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE below.isleaf AND NOT EXISTS (
    SELECT FROM pg_partition_ancestors(root.oid) AS a
    WHERE a.relid <> root.oid AND a.relid IN (SELECT partrelid FROM by_enum)
);
