-- What a restore asks of a server before it changes anything there.
SELECT current_user::text AS role,
       r.rolsuper AS is_superuser,
       split_part(current_setting('server_version'), ' ', 1) AS version,
       pg_is_in_recovery() AS is_standby,
       current_setting('default_transaction_read_only')::boolean AS is_read_only,
       (SELECT rolname::text FROM pg_roles WHERE oid = 10) AS bootstrap_superuser,
       (SELECT setting::bigint * 1024 * 1024 FROM pg_settings WHERE name = 'max_wal_size') AS max_wal_size_bytes,
       (SELECT array_agg(rolname::text) FROM pg_roles) AS roles,
       (SELECT coalesce(array_agg(rolname::text), '{}') FROM pg_roles WHERE NOT rolcanlogin) AS roles_without_login,
       (SELECT jsonb_object_agg(name, default_version) FROM pg_available_extensions) AS extensions,
       (SELECT array_agg(datname::text ORDER BY datname) FROM pg_database) AS databases
FROM pg_roles AS r
WHERE r.rolname = current_user;
