-- The access that sql/roles/ decides, a line each: roles, memberships, settings, the database,
-- its schemas, default privileges, and the pooler's function.
-- Compared before and after a trial run that is rolled back.

SELECT coalesce(jsonb_agg(line ORDER BY line), '[]')
FROM (
    SELECT format('role %s: login %s, inherit %s, bypassrls %s, superuser %s, createdb %s, createrole %s, replication %s, "%s"',
        a.rolname, a.rolcanlogin, a.rolinherit, a.rolbypassrls, a.rolsuper, a.rolcreatedb, a.rolcreaterole,
        a.rolreplication, pg_catalog.shobj_description(a.oid, 'pg_authid')) AS line
    FROM pg_catalog.pg_roles AS a WHERE a.rolname ~ '^case_'
    UNION ALL
    SELECT format('role %s is a member of %s %s', member.rolname, granted.rolname,
        to_jsonb(m) - ARRAY['oid', 'roleid', 'member', 'grantor'])
    FROM pg_catalog.pg_auth_members AS m
    JOIN pg_catalog.pg_roles AS granted ON granted.oid = m.roleid
    JOIN pg_catalog.pg_roles AS member ON member.oid = m.member
    WHERE member.rolname ~ '^case_'
    UNION ALL
    SELECT format('role %s: %s', pg_catalog.pg_get_userbyid(s.setrole), c)
    FROM pg_catalog.pg_db_role_setting AS s, unnest(s.setconfig) AS c
    WHERE s.setdatabase = 0 AND pg_catalog.pg_get_userbyid(s.setrole) ~ '^case_'
    UNION ALL
    SELECT format('database %s: owner %s', d.datname, pg_catalog.pg_get_userbyid(d.datdba))
    FROM pg_catalog.pg_database AS d WHERE d.datname = current_database() AND d.datname <> 'postgres'
    UNION ALL
    SELECT format('database %s: %s may %s', d.datname,
        CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.pg_get_userbyid(x.grantee) END, x.privilege_type)
    FROM pg_catalog.pg_database AS d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS x
    WHERE d.datname = current_database() AND d.datname <> 'postgres'
    UNION ALL
    SELECT format('schema %s: owner %s, %s may %s', n.nspname, pg_catalog.pg_get_userbyid(n.nspowner),
        CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.pg_get_userbyid(x.grantee) END, x.privilege_type)
    FROM pg_catalog.pg_namespace AS n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS x
    WHERE n.nspname IN ('public', 'ops') AND current_database() <> 'postgres'
    UNION ALL
    SELECT format('function ops.pooler_login: owner %s, %s may %s, %s', pg_catalog.pg_get_userbyid(p.proowner),
        CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.pg_get_userbyid(x.grantee) END, x.privilege_type,
        md5(pg_catalog.pg_get_functiondef(p.oid)))
    FROM pg_catalog.pg_proc AS p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS x
    WHERE p.oid = to_regprocedure('ops.pooler_login(name)')
    UNION ALL
    SELECT format('by default of %s in %s: %s may %s on %s', pg_catalog.pg_get_userbyid(e.defaclrole),
        coalesce(n.nspname, 'every schema'),
        CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.pg_get_userbyid(x.grantee) END, x.privilege_type, e.defaclobjtype)
    FROM pg_catalog.pg_default_acl AS e
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = e.defaclnamespace, aclexplode(e.defaclacl) AS x
    WHERE current_database() <> 'postgres'
) AS lines;
