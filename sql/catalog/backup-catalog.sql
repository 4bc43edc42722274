-- The catalog's fingerprint: one row (kind, identity, definition) for each thing that a restore must
-- bring back. Equal before a dump and after its restore; free of OIDs, of column numbers with gaps,
-- and of the difference between "no ACL" and the default ACL spelt out.
-- Run with an empty search_path, so that every name is printed in full.
WITH RECURSIVE
ours AS (
    SELECT oid, nspname, nspowner, nspacl
    FROM pg_namespace AS n
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
      AND NOT EXISTS (
          SELECT FROM pg_depend AS d
          WHERE d.classid = 'pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e'
      )
),
-- What an extension brought comes back with CREATE EXTENSION, in the version the server has.
brought AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
),
relations AS (
    SELECT c.*, format('%%I.%%I', n.nspname, c.relname) AS identity
    FROM pg_class AS c
    JOIN ours AS n ON n.oid = c.relnamespace
    WHERE c.relpersistence <> 't'
      AND (c.oid, 'pg_class'::regclass::oid) NOT IN (SELECT objid, classid FROM brought)
),
-- Where a restore puts a column: as in backup-columns.sql.
lineage AS (
    SELECT oid AS heir, oid AS ancestor, '{}'::int[] AS path FROM relations
    UNION ALL
    SELECT l.heir, i.inhparent, l.path || i.inhseqno
    FROM lineage AS l
    JOIN pg_class AS c ON c.oid = l.ancestor AND NOT c.relispartition
    JOIN pg_inherits AS i ON i.inhrelid = c.oid AND c.relkind IN ('r', 'f')
),
places AS (
    SELECT l.heir, a.attname, min(l.path || ARRAY[2147483647, a.attnum]) AS place
    FROM lineage AS l
    JOIN pg_class AS c ON c.oid = l.ancestor
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        AND (a.attinhcount = 0 OR c.relispartition)
    GROUP BY l.heir, a.attname
),
facts (kind, identity, definition) AS (
    SELECT 'schema', quote_ident(nspname),
           concat_ws(' ', 'owner', pg_get_userbyid(nspowner), 'acl', (
               SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C")
               FROM unnest(coalesce(nspacl, acldefault('n', nspowner))) AS a
           ))
    FROM ours

    UNION ALL
    SELECT CASE r.relkind
               WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view'
               WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' ELSE 'foreign table'
           END,
           r.identity,
           concat_ws(' ',
               'kind', r.relkind, 'owner', pg_get_userbyid(r.relowner), 'persistence', r.relpersistence,
               'row security', CASE WHEN r.relrowsecurity THEN 'on' ELSE 'off' END,
               CASE WHEN r.relforcerowsecurity THEN 'forced' END,
               'replica identity', r.relreplident,
               'options ' || CASE WHEN r.relkind <> 'v' THEN r.reloptions::text ELSE (
                   -- pg_dump writes a view's check option apart from its others.
                   SELECT array_agg(o ORDER BY o COLLATE "C")::text FROM unnest(r.reloptions) AS o
               ) END,
               'partitioned by ' || pg_get_partkeydef(r.oid),
               'partition ' || pg_get_expr(r.relpartbound, r.oid),
               'inherits ' || (
                   SELECT string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno)
                   FROM pg_inherits AS i WHERE i.inhrelid = r.oid
               ),
               CASE WHEN r.relkind = 'm' AND NOT r.relispopulated THEN 'without data' END,
               'acl', (
                   SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C")
                   FROM unnest(coalesce(
                       r.relacl,
                       acldefault(CASE r.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", r.relowner)
                   )) AS a
               ),
               CASE WHEN r.relkind IN ('v', 'm') THEN 'as ' || pg_get_viewdef(r.oid) END
           )
    FROM relations AS r
    WHERE r.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')

    UNION ALL
    SELECT 'column', r.identity || '.' || quote_ident(a.attname),
           concat_ws(' ',
               -- A table made anew has what it inherits first, whenever that was added.
               'number', row_number() OVER (PARTITION BY a.attrelid ORDER BY p.place),
               format_type(a.atttypid, a.atttypmod),
               CASE WHEN a.attnotnull THEN 'not null' END,
               CASE WHEN a.attcollation <> t.typcollation THEN 'collate ' || a.attcollation::regcollation::text END,
               'generated ' || nullif(a.attgenerated::text, ''),
               'identity ' || nullif(a.attidentity::text, ''),
               'default ' || pg_get_expr(e.adbin, e.adrelid),
               'storage', a.attstorage,
               'compression ' || nullif(a.attcompression::text, ''),
               -- pg_attver is the server's own stamp (a WAL position, since 15.20): pg_dump leaves it out.
               'options ' || (
                   SELECT string_agg(o, ' ' ORDER BY o COLLATE "C")
                   FROM unnest(a.attoptions) AS o WHERE NOT starts_with(o, 'pg_attver=')
               ),
               'acl ' || (
                   SELECT string_agg(i::text, ' ' ORDER BY i::text COLLATE "C") FROM unnest(a.attacl) AS i
               )
           )
    FROM relations AS r
    JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN places AS p ON p.heir = a.attrelid AND p.attname = a.attname
    JOIN pg_type AS t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef AS e ON e.adrelid = a.attrelid AND e.adnum = a.attnum
    WHERE r.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')

    UNION ALL
    -- Those of a partition follow from its parent's; pg_dump leaves them to ATTACH PARTITION.
    SELECT 'constraint', r.identity || '.' || quote_ident(c.conname),
           concat_ws(' ', pg_get_constraintdef(c.oid), CASE WHEN NOT c.convalidated THEN 'unproven' END)
    FROM pg_constraint AS c
    JOIN relations AS r ON r.oid = c.conrelid
    WHERE c.conparentid = 0 AND c.contype <> 't'

    UNION ALL
    -- An index that a failed CREATE INDEX CONCURRENTLY left invalid is in no dump.
    SELECT 'index', r.identity,
           concat_ws(' ', pg_get_indexdef(i.indexrelid),
               CASE WHEN i.indisclustered THEN 'clustered' END,
               CASE WHEN i.indisreplident THEN 'replica identity' END,
               CASE WHEN NOT i.indisvalid THEN 'not valid' END)
    FROM pg_index AS i
    JOIN relations AS r ON r.oid = i.indexrelid
    WHERE i.indisvalid OR r.relkind = 'I'

    UNION ALL
    SELECT CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
           format('%%I.%%I(%%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
           concat_ws(' ', 'owner', pg_get_userbyid(p.proowner), 'acl', (
                   SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C")
                   FROM unnest(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
               ),
               CASE p.prokind
                   WHEN 'a' THEN (
                       SELECT concat_ws(' ', g.aggkind, g.aggtransfn, g.aggfinalfn, g.aggcombinefn,
                                        g.aggtranstype::regtype, g.agginitval)
                       FROM pg_aggregate AS g WHERE g.aggfnoid = p.oid
                   )
                   ELSE pg_get_functiondef(p.oid)
               END)
    FROM pg_proc AS p
    JOIN ours AS n ON n.oid = p.pronamespace
    WHERE (p.oid, 'pg_proc'::regclass::oid) NOT IN (SELECT objid, classid FROM brought)
      -- A range type makes its own constructors.
      AND NOT EXISTS (
          SELECT FROM pg_depend AS d
          WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'i'
      )

    UNION ALL
    SELECT 'trigger', r.identity || '.' || quote_ident(t.tgname),
           concat_ws(' ', pg_get_triggerdef(t.oid), 'enabled', t.tgenabled)
    FROM pg_trigger AS t
    JOIN relations AS r ON r.oid = t.tgrelid
    WHERE NOT t.tgisinternal

    UNION ALL
    SELECT 'rule', r.identity || '.' || quote_ident(w.rulename),
           concat_ws(' ', pg_get_ruledef(w.oid), 'enabled', w.ev_enabled)
    FROM pg_rewrite AS w
    JOIN relations AS r ON r.oid = w.ev_class
    WHERE w.rulename <> '_RETURN'

    UNION ALL
    SELECT 'policy', r.identity || '.' || quote_ident(p.polname),
           concat_ws(' ',
               CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END,
               'for', p.polcmd,
               'to', (
                   SELECT string_agg(
                       CASE role WHEN 0 THEN 'public' ELSE quote_ident(pg_get_userbyid(role)) END, ', '
                       ORDER BY pg_get_userbyid(role) COLLATE "C"
                   )
                   FROM unnest(p.polroles) AS role
               ),
               'using ' || pg_get_expr(p.polqual, p.polrelid),
               'check ' || pg_get_expr(p.polwithcheck, p.polrelid)
           )
    FROM pg_policy AS p
    JOIN relations AS r ON r.oid = p.polrelid

    UNION ALL
    SELECT CASE t.typtype WHEN 'd' THEN 'domain' ELSE 'type' END, format('%%I.%%I', n.nspname, t.typname),
           concat_ws(' ',
               'kind', t.typtype, 'owner', pg_get_userbyid(t.typowner),
               CASE WHEN t.typtype = 'd' THEN concat_ws(' ',
                   format_type(t.typbasetype, t.typtypmod),
                   CASE WHEN t.typnotnull THEN 'not null' END,
                   'default ' || pg_get_expr(t.typdefaultbin, 0),
                   CASE WHEN t.typcollation <> b.typcollation THEN 'collate ' || t.typcollation::regcollation::text END)
               END,
               'labels ' || (
                   SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
                   FROM pg_enum AS e WHERE e.enumtypid = t.oid
               ),
               'range of ' || (SELECT g.rngsubtype::regtype::text FROM pg_range AS g WHERE g.rngtypid = t.oid),
               'acl', (
                   SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C")
                   FROM unnest(coalesce(t.typacl, acldefault('T', t.typowner))) AS a
               )
           )
    FROM pg_type AS t
    JOIN ours AS n ON n.oid = t.typnamespace
    LEFT JOIN pg_type AS b ON b.oid = t.typbasetype
    LEFT JOIN pg_class AS c ON c.oid = t.typrelid
    WHERE t.typtype IN ('d', 'e', 'r', 'c', 'b')
      -- Every table is a type and every type has an array type; neither has a life of its own.
      AND coalesce(c.relkind, 'c') = 'c' AND t.typcategory <> 'A'
      AND (t.oid, 'pg_type'::regclass::oid) NOT IN (SELECT objid, classid FROM brought)

    UNION ALL
    SELECT 'constraint', format('%%I.%%I.%%I', n.nspname, t.typname, c.conname),
           concat_ws(' ', pg_get_constraintdef(c.oid), CASE WHEN NOT c.convalidated THEN 'unproven' END)
    FROM pg_constraint AS c
    JOIN pg_type AS t ON t.oid = c.contypid
    JOIN ours AS n ON n.oid = t.typnamespace
    WHERE (t.oid, 'pg_type'::regclass::oid) NOT IN (SELECT objid, classid FROM brought)

    UNION ALL
    SELECT 'sequence values', r.identity,
           concat_ws(' ', s.seqtypid::regtype, 'start', s.seqstart, 'by', s.seqincrement,
               'from', s.seqmin, 'to', s.seqmax, 'cache', s.seqcache,
               CASE WHEN s.seqcycle THEN 'cycle' END,
               'owned by ' || (
                   SELECT min(pg_identify_object.identity)
                   FROM pg_depend AS d,
                        pg_identify_object(d.refclassid, d.refobjid, d.refobjsubid)
                   WHERE d.classid = 'pg_class'::regclass AND d.objid = r.oid
                     AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
               ))
    FROM pg_sequence AS s
    JOIN relations AS r ON r.oid = s.seqrelid

    UNION ALL
    SELECT 'default privileges',
           concat_ws(' ', pg_get_userbyid(a.defaclrole), 'in ' || n.nspname, 'on', a.defaclobjtype),
           (SELECT string_agg(i::text, ' ' ORDER BY i::text COLLATE "C") FROM unnest(a.defaclacl) AS i)
    FROM pg_default_acl AS a
    LEFT JOIN pg_namespace AS n ON n.oid = a.defaclnamespace

    UNION ALL
    SELECT 'extension', e.extname, 'in ' || quote_ident(n.nspname)
    FROM pg_extension AS e
    JOIN pg_namespace AS n ON n.oid = e.extnamespace

    UNION ALL
    SELECT 'event trigger', e.evtname,
           concat_ws(' ', 'on', e.evtevent, 'enabled', e.evtenabled, e.evtfoid::regproc, e.evttags::text,
               'owner', pg_get_userbyid(e.evtowner))
    FROM pg_event_trigger AS e
    WHERE (e.oid, 'pg_event_trigger'::regclass::oid) NOT IN (SELECT objid, classid FROM brought)

    UNION ALL
    SELECT 'statistics', format('%%I.%%I', n.nspname, s.stxname),
           concat_ws(' ', 'owner', pg_get_userbyid(s.stxowner), pg_get_statisticsobjdef(s.oid))
    FROM pg_statistic_ext AS s
    JOIN ours AS n ON n.oid = s.stxnamespace

    UNION ALL
    SELECT 'publication', p.pubname,
           concat_ws(' ', 'owner', pg_get_userbyid(p.pubowner),
               CASE WHEN p.puballtables THEN 'all tables' END,
               (
                   SELECT string_agg(t.prrelid::regclass::text, ', ' ORDER BY t.prrelid::regclass::text COLLATE "C")
                   FROM pg_publication_rel AS t WHERE t.prpubid = p.oid
               ))
    FROM pg_publication AS p

    UNION ALL
    -- Below 16384 are the objects initdb made, with comments of its own.
    SELECT 'comment', i.type || ' ' || i.identity, d.description
    FROM pg_description AS d,
         pg_identify_object(d.classoid, d.objoid, d.objsubid) AS i
    WHERE d.objoid >= 16384
      AND (d.objoid, d.classoid) NOT IN (SELECT objid, classid FROM brought)
      AND coalesce(i.schema, '') !~ '^pg_'

    UNION ALL
    SELECT 'role', r.rolname,
           concat_ws(' ',
               CASE WHEN r.rolsuper THEN 'superuser' END,
               CASE WHEN r.rolcanlogin THEN 'login' ELSE 'nologin' END,
               CASE WHEN r.rolinherit THEN 'inherit' ELSE 'noinherit' END,
               CASE WHEN r.rolbypassrls THEN 'bypassrls' END,
               CASE WHEN r.rolcreaterole THEN 'createrole' END,
               CASE WHEN r.rolcreatedb THEN 'createdb' END,
               CASE WHEN r.rolreplication THEN 'replication' END,
               'connections', r.rolconnlimit,
               'until ' || r.rolvaliduntil::text,
               'settings ' || (
                   SELECT string_agg(setting, ' ' ORDER BY setting COLLATE "C")
                   FROM pg_db_role_setting AS s CROSS JOIN unnest(s.setconfig) AS setting
                   WHERE s.setrole = r.oid AND s.setdatabase = 0
               ))
    FROM pg_roles AS r
    WHERE r.rolname = ANY (%(roles)s::text[])

    UNION ALL
    -- Since 16 a membership has options, and each grantor gives his own; by way of JSON for 15.
    SELECT DISTINCT 'membership', format('%%I in %%I', member.rolname, granted.rolname),
           concat_ws(' ',
               CASE WHEN bool_or(m.admin_option) THEN 'admin' END,
               CASE WHEN bool_or((to_jsonb(m) ->> 'inherit_option')::boolean) THEN 'inherit' END,
               CASE WHEN bool_or((to_jsonb(m) ->> 'set_option')::boolean) THEN 'set' END)
    FROM pg_auth_members AS m
    JOIN pg_roles AS member ON member.oid = m.member
    JOIN pg_roles AS granted ON granted.oid = m.roleid
    WHERE member.rolname = ANY (%(roles)s::text[])
       -- Everybody who is a member of them is one of them; but for the first superuser.
       OR (granted.rolname = ANY (%(roles)s::text[]) AND member.oid >= 16384)
    GROUP BY member.rolname, granted.rolname
)
SELECT kind, identity, coalesce(definition, '')
FROM facts
ORDER BY kind COLLATE "C", identity COLLATE "C", definition COLLATE "C";
