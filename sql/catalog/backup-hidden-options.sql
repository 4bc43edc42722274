-- The user mappings with options that the view shows to pg_dump as without any; for a role that may read the catalog.
SELECT v.usename::text, v.srvname::text
FROM pg_user_mappings AS v
JOIN pg_user_mapping AS m ON m.oid = v.umid
WHERE m.umoptions IS NOT NULL AND v.umoptions IS NULL
ORDER BY v.srvname COLLATE "C", v.usename COLLATE "C";
