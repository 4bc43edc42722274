-- A role that reads everything for backups is bound by row security.
-- Its pg_dump fails, or with --enable-row-security writes only what it sees and reports success.
-- hint: ALTER ROLE ... BYPASSRLS, as a superuser.
SELECT r.rolname::text, 'is a member of pg_read_all_data, without BYPASSRLS'
FROM pg_catalog.pg_roles AS r
JOIN pg_catalog.pg_auth_members AS m ON m.member = r.oid
WHERE m.roleid = 'pg_read_all_data'::regrole AND r.rolcanlogin AND NOT r.rolbypassrls AND NOT r.rolsuper
  AND EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.relrowsecurity);
