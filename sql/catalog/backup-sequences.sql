-- The sequences of the connected database that a dump contains, and their increments; of an extension's those that
-- are its configuration.
SELECT n.nspname, c.relname, s.seqincrement, e.extname
FROM pg_sequence AS s
JOIN pg_class AS c ON c.oid = s.seqrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_extension AS e ON c.oid = ANY (e.extconfig)
WHERE c.relpersistence <> 't' AND (
    e.oid IS NOT NULL
    OR NOT EXISTS (
        SELECT FROM pg_depend AS d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
    )
)
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C";
