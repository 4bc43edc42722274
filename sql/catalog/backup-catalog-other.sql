-- The second part of the catalog's fingerprint (the first is backup-catalog.sql): what few databases have,
-- and the rights on what the server or an extension brought. Backups of before do not have it: a kind
-- that is added here is added to fingerprint.SECOND_PART.
WITH
-- What an extension brought comes back with CREATE EXTENSION; what initdb made, every server has.
made AS (
    SELECT i.classid, i.objid, o.type, o.identity, quote_ident(pg_get_userbyid(i.owner)) AS owner
    FROM (
        SELECT 'pg_cast'::regclass AS classid, oid AS objid, NULL::oid AS owner FROM pg_cast
        UNION ALL SELECT 'pg_operator', oid, oprowner FROM pg_operator WHERE oprcode <> 0
        UNION ALL SELECT 'pg_opclass', oid, opcowner FROM pg_opclass
        UNION ALL SELECT 'pg_opfamily', oid, opfowner FROM pg_opfamily
        UNION ALL SELECT 'pg_collation', oid, collowner FROM pg_collation
        UNION ALL SELECT 'pg_conversion', oid, conowner FROM pg_conversion
        UNION ALL SELECT 'pg_ts_config', oid, cfgowner FROM pg_ts_config
        UNION ALL SELECT 'pg_ts_dict', oid, dictowner FROM pg_ts_dict
        UNION ALL SELECT 'pg_ts_parser', oid, NULL FROM pg_ts_parser
        UNION ALL SELECT 'pg_ts_template', oid, NULL FROM pg_ts_template
        UNION ALL SELECT 'pg_foreign_data_wrapper', oid, fdwowner FROM pg_foreign_data_wrapper
        UNION ALL SELECT 'pg_foreign_server', oid, srvowner FROM pg_foreign_server
        UNION ALL SELECT 'pg_user_mapping', umid, NULL FROM pg_user_mappings
        UNION ALL SELECT 'pg_language', oid, lanowner FROM pg_language
        UNION ALL SELECT 'pg_am', oid, NULL FROM pg_am
        UNION ALL SELECT 'pg_transform', oid, NULL FROM pg_transform
    ) AS i
    CROSS JOIN LATERAL pg_identify_object(i.classid, i.objid, 0) AS o
    WHERE i.objid >= 16384
      AND NOT EXISTS (
          SELECT FROM pg_depend AS d
          WHERE d.classid = i.classid AND d.objid = i.objid AND d.deptype = 'e'
      )
),
details (classid, objid, definition) AS (
    SELECT 'pg_cast'::regclass, c.oid,
           concat_ws(' ', c.castmethod, c.castcontext, nullif(c.castfunc, 0)::regprocedure)
    FROM pg_cast AS c

    UNION ALL
    SELECT 'pg_operator', o.oid,
           concat_ws(' ', o.oprcode, 'commutator', nullif(o.oprcom, 0)::regoperator,
               'negator', nullif(o.oprnegate, 0)::regoperator, 'restrict', o.oprrest, 'join', o.oprjoin,
               CASE WHEN o.oprcanhash THEN 'hashes' END, CASE WHEN o.oprcanmerge THEN 'merges' END)
    FROM pg_operator AS o

    UNION ALL
    SELECT 'pg_opclass', o.oid,
           concat_ws(' ', 'family', f.identity, 'for', o.opcintype::regtype,
               CASE WHEN o.opcdefault THEN 'default' END, 'storage ' || nullif(o.opckeytype, 0)::regtype)
    FROM pg_opclass AS o, pg_identify_object('pg_opfamily'::regclass, o.opcfamily, 0) AS f

    UNION ALL
    SELECT 'pg_opfamily', f.oid,
           concat_ws(' ',
               (
                   SELECT string_agg(member, ', ' ORDER BY member COLLATE "C")
                   FROM pg_amop AS m, concat_ws(' ', 'operator', m.amopstrategy, m.amopopr::regoperator, m.amoppurpose) AS member
                   WHERE m.amopfamily = f.oid
               ),
               (
                   SELECT string_agg(member, ', ' ORDER BY member COLLATE "C")
                   FROM pg_amproc AS m,
                        concat_ws(' ', 'function', m.amprocnum, m.amproclefttype::regtype,
                            m.amprocrighttype::regtype, m.amproc::oid::regprocedure) AS member
                   WHERE m.amprocfamily = f.oid
               ))
    FROM pg_opfamily AS f

    UNION ALL
    -- The version is a note of its own: it belongs to the machine's libraries.
    SELECT 'pg_collation', c.oid,
           (jsonb_strip_nulls(to_jsonb(c)) - '{oid,collname,collnamespace,collowner,collversion}'::text[])::text
    FROM pg_collation AS c

    UNION ALL
    SELECT 'pg_conversion', c.oid,
           concat_ws(' ', c.conproc, c.conforencoding, c.contoencoding, CASE WHEN c.condefault THEN 'default' END)
    FROM pg_conversion AS c

    UNION ALL
    SELECT 'pg_ts_config', c.oid,
           concat_ws(' ', p.identity, (
               SELECT string_agg(concat_ws(' ', m.maptokentype, m.mapdict::regdictionary), ', '
                                 ORDER BY m.maptokentype, m.mapseqno)
               FROM pg_ts_config_map AS m WHERE m.mapcfg = c.oid
           ))
    FROM pg_ts_config AS c, pg_identify_object('pg_ts_parser'::regclass, c.cfgparser, 0) AS p

    UNION ALL
    SELECT 'pg_ts_dict', d.oid, concat_ws(' ', t.identity, d.dictinitoption)
    FROM pg_ts_dict AS d, pg_identify_object('pg_ts_template'::regclass, d.dicttemplate, 0) AS t

    UNION ALL
    SELECT 'pg_ts_parser', p.oid,
           concat_ws(' ', p.prsstart, p.prstoken, p.prsend, p.prsheadline, p.prslextype)
    FROM pg_ts_parser AS p

    UNION ALL
    SELECT 'pg_ts_template', t.oid, concat_ws(' ', t.tmplinit, t.tmpllexize)
    FROM pg_ts_template AS t

    UNION ALL
    SELECT 'pg_foreign_data_wrapper', w.oid,
           concat_ws(' ', w.fdwhandler::regproc, w.fdwvalidator::regproc, 'options ' || w.fdwoptions::text)
    FROM pg_foreign_data_wrapper AS w

    UNION ALL
    SELECT 'pg_foreign_server', s.oid,
           concat_ws(' ', 'of', w.fdwname, 'type ' || s.srvtype, 'version ' || s.srvversion,
               'options ' || s.srvoptions::text)
    FROM pg_foreign_server AS s
    JOIN pg_foreign_data_wrapper AS w ON w.oid = s.srvfdw

    UNION ALL
    -- Its options are passwords above all.
    SELECT 'pg_user_mapping', m.umid, '' FROM pg_user_mappings AS m

    UNION ALL
    SELECT 'pg_language', l.oid,
           concat_ws(' ', CASE WHEN l.lanpltrusted THEN 'trusted' END,
               l.lanplcallfoid::regproc, l.laninline::regproc, l.lanvalidator::regproc)
    FROM pg_language AS l

    UNION ALL
    SELECT 'pg_am', m.oid, concat_ws(' ', m.amtype, m.amhandler) FROM pg_am AS m

    UNION ALL
    SELECT 'pg_transform', t.oid, concat_ws(' ', t.trffromsql::oid::regprocedure, t.trftosql::oid::regprocedure)
    FROM pg_transform AS t
),
-- Rights on what the server or an extension brought, and on what has no line of its own in the first part.
-- Not those on information_schema, of which pg_dump takes none.
-- No ACL at all and the default ACL spelt out mean the same.
grantable (classid, objid, number, owner, acl, preset) AS (
    SELECT 'pg_namespace'::regclass, oid, 0, nspowner, nspacl, acldefault('n', nspowner) FROM pg_namespace
    UNION ALL
    SELECT 'pg_class', oid, 0, relowner, relacl,
           acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)
    FROM pg_class
    UNION ALL
    SELECT 'pg_class', a.attrelid, a.attnum, c.relowner, a.attacl, acldefault('c', c.relowner)
    FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
    UNION ALL SELECT 'pg_proc', oid, 0, proowner, proacl, acldefault('f', proowner) FROM pg_proc
    UNION ALL SELECT 'pg_type', oid, 0, typowner, typacl, acldefault('T', typowner) FROM pg_type
    UNION ALL SELECT 'pg_language', oid, 0, lanowner, lanacl, acldefault('l', lanowner) FROM pg_language
    UNION ALL
    SELECT 'pg_foreign_data_wrapper', oid, 0, fdwowner, fdwacl, acldefault('F', fdwowner)
    FROM pg_foreign_data_wrapper
    UNION ALL
    SELECT 'pg_foreign_server', oid, 0, srvowner, srvacl, acldefault('S', srvowner) FROM pg_foreign_server
),
-- What was granted beyond what initdb or the extension had granted, and what was revoked of it. Not the
-- owner's own: who owns what an extension brought is decided by who restores.
changed AS (
    SELECT g.classid, g.objid, g.number, item.grantee, item.privilege_type, item.is_grantable,
           bool_or(item.is_given) AS is_given
    FROM grantable AS g
    LEFT JOIN pg_init_privs AS i ON (i.classoid, i.objoid, i.objsubid) = (g.classid, g.objid, g.number)
    CROSS JOIN LATERAL (
        SELECT *, true AS is_given FROM aclexplode(coalesce(g.acl, g.preset))
        UNION ALL
        SELECT *, false FROM aclexplode(coalesce(i.initprivs, g.preset))
    ) AS item
    WHERE (g.acl IS NOT NULL OR i.initprivs IS NOT NULL) AND item.grantee <> item.grantor
    GROUP BY g.classid, g.objid, g.number, item.grantee, item.privilege_type, item.is_grantable
    HAVING count(DISTINCT item.is_given) = 1
),
facts (kind, identity, definition) AS (
    SELECT m.type, m.identity, concat_ws(' ', 'owner ' || m.owner, d.definition)
    FROM made AS m
    JOIN details AS d ON d.classid = m.classid AND d.objid = m.objid

    UNION ALL
    SELECT 'grant', i.type || ' ' || i.identity,
           string_agg(right_changed, ', ' ORDER BY right_changed COLLATE "C")
    FROM changed AS c
    CROSS JOIN LATERAL pg_identify_object(c.classid, c.objid, c.number) AS i
    CROSS JOIN LATERAL concat_ws(' ',
        CASE WHEN c.is_given THEN 'granted' ELSE 'revoked' END, c.privilege_type,
        CASE WHEN c.is_grantable THEN 'with grant option' END,
        CASE WHEN c.is_given THEN 'to' ELSE 'from' END,
        CASE c.grantee WHEN 0 THEN 'public' ELSE quote_ident(pg_get_userbyid(c.grantee)) END
    ) AS right_changed
    WHERE coalesce(i.schema, '') !~ '^pg_(temp|toast)'
      AND (
          c.classid IN ('pg_language'::regclass, 'pg_foreign_data_wrapper'::regclass, 'pg_foreign_server'::regclass)
          OR coalesce(i.schema, CASE c.classid WHEN 'pg_namespace'::regclass THEN i.name END)
              = 'pg_catalog'
          OR EXISTS (
              SELECT FROM pg_depend AS d
              WHERE d.classid = c.classid AND d.objid = c.objid AND d.deptype = 'e'
          )
      )
    GROUP BY i.type, i.identity

    UNION ALL
    SELECT 'array domain', format('%%I.%%I', n.nspname, t.typname),
           concat_ws(' ', 'owner', quote_ident(pg_get_userbyid(t.typowner)),
               format_type(t.typbasetype, t.typtypmod),
               CASE WHEN t.typnotnull THEN 'not null' END,
               'default ' || pg_get_expr(t.typdefaultbin, 0),
               'acl', (
                   SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C")
                   FROM unnest(coalesce(t.typacl, acldefault('T', t.typowner))) AS a
               ))
    FROM pg_type AS t
    JOIN pg_namespace AS n ON n.oid = t.typnamespace
    WHERE t.typtype = 'd' AND t.typcategory = 'A' AND t.oid >= 16384
      AND NOT EXISTS (
          SELECT FROM pg_depend AS d
          WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
      )

    UNION ALL
    SELECT 'foreign table options', f.ftrelid::regclass::text,
           concat_ws(' ', 'server', quote_ident(s.srvname), f.ftoptions::text, (
               SELECT string_agg(concat_ws(' ', a.attname, a.attfdwoptions::text), ', ' ORDER BY a.attnum)
               FROM pg_attribute AS a WHERE a.attrelid = f.ftrelid AND a.attfdwoptions IS NOT NULL
           ))
    FROM pg_foreign_table AS f
    JOIN pg_foreign_server AS s ON s.oid = f.ftserver

    UNION ALL
    SELECT 'column statistics', a.attrelid::regclass::text || '.' || quote_ident(a.attname), a.attstattarget::text
    FROM pg_attribute AS a
    JOIN pg_class AS c ON c.oid = a.attrelid
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    -- The default is -1, and none since 17.
    WHERE a.attstattarget >= 0 AND a.attnum > 0 AND NOT a.attisdropped
      AND c.relkind IN ('r', 'p', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'

    UNION ALL
    SELECT 'publication details', p.pubname,
           concat_ws(' ', (to_jsonb(p) - '{oid,pubname,pubowner,puballtables}'::text[])::text,
               (
                   SELECT string_agg(s.pnnspid::regnamespace::text, ', ' ORDER BY s.pnnspid::regnamespace::text COLLATE "C")
                   FROM pg_publication_namespace AS s WHERE s.pnpubid = p.oid
               ),
               (
                   SELECT string_agg(part, ', ' ORDER BY part COLLATE "C")
                   FROM pg_publication_rel AS t
                   CROSS JOIN LATERAL concat_ws(' ', t.prrelid::regclass, 'where ' || pg_get_expr(t.prqual, t.prrelid), (
                       SELECT string_agg(a.attname, ' ' ORDER BY a.attname COLLATE "C")
                       FROM pg_attribute AS a WHERE a.attrelid = t.prrelid AND a.attnum = ANY (t.prattrs)
                   )) AS part
                   WHERE t.prpubid = p.oid
               ))
    FROM pg_publication AS p

    UNION ALL
    -- Restored it is switched off, whatever it was: two of one subscription would eat each other's changes.
    SELECT 'subscription', s.subname,
           concat_ws(' ', 'owner', quote_ident(pg_get_userbyid(s.subowner)), 'to', s.subpublications::text,
               'slot ' || s.subslotname)
    FROM pg_subscription AS s
    JOIN pg_database AS d ON d.oid = s.subdbid AND d.datname = current_database()

    UNION ALL
    SELECT 'security label', concat_ws(' ', i.type, i.identity, l.provider), l.label
    FROM pg_seclabel AS l, pg_identify_object(l.classoid, l.objoid, l.objsubid) AS i

    UNION ALL
    -- One fact for all that are owned and granted alike: there may be millions.
    SELECT 'large objects', concat_ws(' ', 'owner', quote_ident(pg_get_userbyid(l.lomowner)), 'acl', acl.items),
           concat_ws(' ', count(*), sum(hashint8extended(l.oid::bigint, 0)::numeric))
    FROM pg_largeobject_metadata AS l
    CROSS JOIN LATERAL (
        SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE "C") AS items
        FROM unnest(coalesce(l.lomacl, acldefault('L', l.lomowner))) AS a
    ) AS acl
    GROUP BY l.lomowner, acl.items

    UNION ALL
    -- Whether there is a second part to compare with.
    SELECT 'fingerprint', 'parts', '2'
)
SELECT kind, identity, coalesce(definition, '')
FROM facts
ORDER BY kind COLLATE "C", identity COLLATE "C", definition COLLATE "C";
