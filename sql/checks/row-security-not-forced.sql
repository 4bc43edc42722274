-- Row security does not bind the table's owner.
-- A view, a function or a migration that runs as the owner sees and shows every row.
-- hint: ALTER TABLE ... FORCE ROW LEVEL SECURITY.
SELECT format('%I.%I', n.nspname, c.relname), 'owner: ' || c.relowner::regrole
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relrowsecurity AND NOT c.relforcerowsecurity;
