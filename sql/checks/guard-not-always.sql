-- A trigger that guards against deletion is skipped by sessions in replica mode.
-- SET session_replication_role = replica switches off every trigger that is not ENABLE ALWAYS.
-- hint: ALTER TABLE ... ENABLE ALWAYS TRIGGER ....
SELECT format('%I.%I', n.nspname, c.relname), t.tgname || CASE t.tgenabled WHEN 'D' THEN ' is disabled' ELSE '' END
FROM pg_catalog.pg_trigger AS t
JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
-- Of a table that is guarded against TRUNCATE, every trigger before DELETE and TRUNCATE.
WHERE NOT t.tgisinternal AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND (t.tgtype & 2) = 2 AND (t.tgtype & 40) <> 0 AND t.tgenabled <> 'A'
  AND EXISTS (
      SELECT FROM pg_catalog.pg_trigger AS u
      WHERE u.tgrelid = c.oid AND NOT u.tgisinternal AND (u.tgtype & 34) = 34
  );
