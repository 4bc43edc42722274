-- The collations that were made in the connected database, and those that initdb made and something in it relies on.
-- What PostgreSQL pins ("unicode" of ICU, since 16) is in no pg_depend, so columns and their like are asked themselves;
-- of an expression alone it is not known. The order of "C" and its like has no version and is the same everywhere.
-- By way of JSON where a column has another name in another major version.
WITH used (oid) AS (
    SELECT refobjid FROM pg_depend WHERE refclassid = 'pg_collation'::regclass
    UNION SELECT attcollation FROM pg_attribute WHERE attrelid >= 16384
    UNION SELECT unnest(indcollation::oid[]) FROM pg_index WHERE indexrelid >= 16384
    UNION SELECT typcollation FROM pg_type WHERE oid >= 16384
    UNION SELECT rngcollation FROM pg_range WHERE rngtypid >= 16384
    UNION SELECT unnest(partcollation::oid[]) FROM pg_partitioned_table
)
SELECT c.oid::regcollation::text AS name,
       CASE c.collprovider WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' ELSE 'builtin' END AS provider,
       CASE WHEN c.collnamespace <> 'pg_catalog'::regnamespace THEN l.locale END AS locale,
       c.collversion AS version,
       pg_collation_actual_version(c.oid) AS actual_version
FROM pg_collation AS c
CROSS JOIN LATERAL (
    SELECT coalesce(to_jsonb(c) ->> 'colllocale', to_jsonb(c) ->> 'colliculocale', c.collcollate::text) AS locale
) AS l
WHERE c.oid >= 16384
   OR (c.oid IN (SELECT oid FROM used) AND c.collprovider <> 'd' AND l.locale NOT IN ('C', 'POSIX'))
ORDER BY c.oid::regcollation::text COLLATE "C";
