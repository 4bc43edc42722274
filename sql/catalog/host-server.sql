-- Everything of one server that provisioning compares, as one JSON object: roles, databases, settings.
-- Run as a superuser: the password verifiers are needed to leave a right password alone.

SELECT jsonb_build_object(
    'version_num', current_setting('server_version_num')::int,
    'in_recovery', pg_catalog.pg_is_in_recovery(),
    'roles', (
        SELECT coalesce(jsonb_object_agg(a.rolname, jsonb_build_object(
            'superuser', a.rolsuper,
            'createdb', a.rolcreatedb,
            'createrole', a.rolcreaterole,
            'inherit', a.rolinherit,
            'login', a.rolcanlogin,
            'replication', a.rolreplication,
            'bypassrls', a.rolbypassrls,
            'connection_limit', a.rolconnlimit,
            'valid_until', a.rolvaliduntil,
            'verifier', a.rolpassword,
            'comment', coalesce(pg_catalog.shobj_description(a.oid, 'pg_authid'), ''),
            'member_of', (
                SELECT coalesce(jsonb_agg(DISTINCT granted.rolname), '[]')
                FROM pg_catalog.pg_auth_members AS m
                JOIN pg_catalog.pg_authid AS granted ON granted.oid = m.roleid
                WHERE m.member = a.oid
            ),
            'settings', (
                SELECT coalesce(jsonb_object_agg(split_part(c, '=', 1), substr(c, strpos(c, '=') + 1)), '{}')
                FROM pg_catalog.pg_db_role_setting AS s, unnest(s.setconfig) AS c
                WHERE s.setrole = a.oid AND s.setdatabase = 0
            )
        )), '{}')
        FROM pg_catalog.pg_authid AS a
        WHERE a.rolname !~ '^pg_'
    ),
    'databases', (
        SELECT jsonb_object_agg(d.datname, jsonb_build_object(
            'owner', o.rolname,
            'connection_limit', d.datconnlimit,
            'tablespace', t.spcname,
            'encoding', pg_catalog.pg_encoding_to_char(d.encoding),
            'comment', coalesce(pg_catalog.shobj_description(d.oid, 'pg_database'), ''),
            'settings', (
                SELECT coalesce(jsonb_object_agg(split_part(c, '=', 1), substr(c, strpos(c, '=') + 1)), '{}')
                FROM pg_catalog.pg_db_role_setting AS s, unnest(s.setconfig) AS c
                WHERE s.setdatabase = d.oid AND s.setrole = 0
            ),
            'grants', (
                SELECT coalesce(jsonb_object_agg(g.grantee, g.privileges), '{}')
                FROM (
                    SELECT CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.pg_get_userbyid(x.grantee) END AS grantee,
                           jsonb_agg(DISTINCT x.privilege_type) AS privileges
                    FROM pg_catalog.aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS x
                    GROUP BY 1
                ) AS g
            )
        ))
        FROM pg_catalog.pg_database AS d
        JOIN pg_catalog.pg_authid AS o ON o.oid = d.datdba
        JOIN pg_catalog.pg_tablespace AS t ON t.oid = d.dattablespace
        WHERE d.datallowconn AND NOT d.datistemplate
    ),
    'settings', (
        SELECT jsonb_object_agg(s.name, jsonb_build_object(
            'value', pg_catalog.current_setting(s.name), 'context', s.context, 'pending_restart', s.pending_restart
        ))
        FROM pg_catalog.pg_settings AS s
    ),
    'hba_errors', (
        SELECT coalesce(jsonb_agg(format('line %s: %s', h.line_number, h.error)), '[]')
        FROM pg_catalog.pg_hba_file_rules AS h WHERE h.error IS NOT NULL
    )
);
