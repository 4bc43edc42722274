-- The sequences of the connected database that a dump contains, and their increments.
SELECT n.nspname, c.relname, s.seqincrement
FROM pg_sequence AS s
JOIN pg_class AS c ON c.oid = s.seqrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't' AND NOT EXISTS (
    SELECT FROM pg_depend AS d
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
)
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C";
