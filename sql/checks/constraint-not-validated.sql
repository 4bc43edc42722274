-- A constraint holds for new rows only.
-- It was added NOT VALID and never validated: the old rows may be anything, and the planner does not trust it.
-- hint: ALTER TABLE ... VALIDATE CONSTRAINT ..., which stops neither reads nor writes.
SELECT format('%I.%I', n.nspname, c.relname), k.conname
FROM pg_catalog.pg_constraint AS k
JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT k.convalidated AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema';
