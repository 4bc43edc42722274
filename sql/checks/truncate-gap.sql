-- A table is guarded against DELETE, and not against TRUNCATE.
-- A trigger for each row does not see TRUNCATE, and TRUNCATE ... CASCADE of another table reaches this one too.
-- hint: CREATE TRIGGER ... BEFORE TRUNCATE ... FOR EACH STATEMENT with a function that refuses.
SELECT format('%I.%I', n.nspname, c.relname), string_agg(t.tgname, ', ' ORDER BY t.tgname)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
-- tgtype, see src/include/catalog/pg_trigger.h: 1 row, 2 before, 8 delete, 32 truncate.
JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = c.oid AND NOT t.tgisinternal AND (t.tgtype & 11) IN (10, 11)
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_trigger AS u
      WHERE u.tgrelid = c.oid AND (u.tgtype & 34) = 34 AND u.tgenabled <> 'D'
  )
GROUP BY 1;
