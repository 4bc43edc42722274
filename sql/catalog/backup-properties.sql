-- What belongs to a database (null: the connected one) and is in no dump of it. By way of JSON where a column has
-- another name in another major version. The server keeps a comment in the encoding of the database that it was
-- written from, which is that database itself: read from one in UTF-8, textsend() has its bytes. Everywhere else they
-- are taken for those of the connected database, and come in UTF-8, as all our sessions do.
SELECT pg_get_userbyid(d.datdba) AS owner,
       pg_encoding_to_char(d.encoding) AS encoding,
       CASE d.datlocprovider WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' ELSE 'builtin' END AS locale_provider,
       d.datcollate AS collate,
       d.datctype AS ctype,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale,
       to_jsonb(d) ->> 'daticurules' AS icu_rules,
       d.datcollversion AS collation_version,
       d.datconnlimit AS connection_limit,
       convert_from(
           textsend(shobj_description(d.oid, 'pg_database')),
           CASE getdatabaseencoding() WHEN 'UTF8' THEN pg_encoding_to_char(d.encoding) ELSE 'UTF8' END
       ) AS comment,
       (
           SELECT coalesce(jsonb_agg(jsonb_build_object(
               'grantee', g.grantee, 'privilege', g.privilege, 'grantable', g.grantable
           ) ORDER BY g.grantee COLLATE "C", g.privilege COLLATE "C"), '[]')
           FROM (
               SELECT CASE a.grantee WHEN 0 THEN '' ELSE pg_get_userbyid(a.grantee)::text END AS grantee,
                      a.privilege_type AS privilege,
                      bool_or(a.is_grantable) AS grantable
               FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a
               GROUP BY 1, 2
           ) AS g
       ) AS grants,
       (
           SELECT coalesce(jsonb_agg(jsonb_build_object(
               'role', CASE s.setrole WHEN 0 THEN NULL ELSE pg_get_userbyid(s.setrole) END,
               'name', split_part(setting, '=', 1),
               'value', substring(setting FROM position('=' IN setting) + 1)
           ) ORDER BY s.setrole <> 0, pg_get_userbyid(s.setrole) COLLATE "C", setting COLLATE "C"), '[]')
           FROM pg_db_role_setting AS s
           CROSS JOIN unnest(s.setconfig) AS setting
           WHERE s.setdatabase = d.oid
       ) AS settings
FROM pg_database AS d
WHERE d.datname = coalesce(%s, current_database());
