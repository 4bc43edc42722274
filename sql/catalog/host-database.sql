-- What of the connected database provisioning compares, as one JSON object: migrations, extensions, schemas, tables.

SELECT jsonb_build_object(
    -- By way of XML: a table that may not be there cannot be named in a query.
    'migrations', CASE WHEN to_regclass('ops._yoyo_migration') IS NULL THEN '[]'::jsonb ELSE (
        SELECT coalesce((xpath('/row/ids/text()', query_to_xml(
            'SELECT jsonb_agg(migration_id ORDER BY migration_id) AS ids FROM ops._yoyo_migration', false, true, ''
        )))[1]::text::jsonb, '[]')
    ) END,
    'extensions', (
        SELECT coalesce(jsonb_object_agg(e.extname, jsonb_build_object(
            'version', e.extversion,
            'default_version', (
                SELECT a.default_version FROM pg_catalog.pg_available_extensions AS a WHERE a.name = e.extname
            ),
            'schema', n.nspname
        )), '{}')
        FROM pg_catalog.pg_extension AS e
        JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace
    ),
    'schemas', (
        SELECT coalesce(jsonb_object_agg(n.nspname, jsonb_build_object(
            'owner', pg_catalog.pg_get_userbyid(n.nspowner),
            'grants', (
                SELECT coalesce(jsonb_object_agg(g.grantee, g.privileges), '{}')
                FROM (
                    SELECT CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.pg_get_userbyid(x.grantee) END AS grantee,
                           jsonb_agg(DISTINCT x.privilege_type) AS privileges
                    FROM pg_catalog.aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS x
                    GROUP BY 1
                ) AS g
            )
        )), '{}')
        FROM pg_catalog.pg_namespace AS n
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    ),
    'tables', (
        SELECT coalesce(jsonb_object_agg(format('%I.%I', n.nspname, c.relname), jsonb_build_object(
            'owner', pg_catalog.pg_get_userbyid(c.relowner),
            'grants', (
                SELECT coalesce(jsonb_object_agg(g.grantee, g.privileges), '{}')
                FROM (
                    SELECT CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.pg_get_userbyid(x.grantee) END AS grantee,
                           jsonb_agg(DISTINCT x.privilege_type) AS privileges
                    FROM pg_catalog.aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS x
                    GROUP BY 1
                ) AS g
            )
        )), '{}')
        FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    )
);
