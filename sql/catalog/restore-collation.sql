-- Whether databases of an encoding have the collation of a name, as SQL has it, from the server itself; and the version
-- of what sorts by it here. By no regcollation, which finds none of ICU from a database in SQL_ASCII.
SELECT count(*) > 0, max(pg_collation_actual_version(oid))
FROM pg_collation
WHERE collnamespace = 'pg_catalog'::regnamespace
  AND ARRAY[collname::text] = parse_ident(%(name)s)
  AND collencoding IN (-1, pg_char_to_encoding(%(encoding)s));
