-- How many large objects the current role, no superuser, may not read, and the first one's number. By their grants,
-- because has_largeobject_privilege() is there since 18 only; pg_read_all_data does not reach them in any version.
SELECT count(*), min(m.oid::bigint)
FROM pg_largeobject_metadata AS m
WHERE NOT current_setting('lo_compat_privileges')::boolean
  AND NOT EXISTS (
      SELECT FROM aclexplode(coalesce(m.lomacl, acldefault('L', m.lomowner))) AS a
      WHERE a.privilege_type = 'SELECT' AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE'))
  );
