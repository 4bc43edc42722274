-- A foreign key has no index on its own columns.
-- Deleting or re-keying one row of the other table reads this one from end to end, and so does every join.
-- hint: CREATE INDEX CONCURRENTLY on the columns of the foreign key.
SELECT format('%I.%I', n.nspname, c.relname), format('%I (%s)', k.conname, (
        SELECT string_agg(a.attname, ', ' ORDER BY place)
        FROM unnest(k.conkey) WITH ORDINALITY AS key (number, place)
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = key.number
    ))
FROM pg_catalog.pg_constraint AS k
JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_index AS x
      WHERE x.indrelid = k.conrelid AND x.indisvalid
        -- The first columns, in any order; "assigned_to IS NOT NULL" leaves out only what no key points at.
        AND (
            SELECT array_agg(number ORDER BY number)
            FROM unnest((x.indkey::int2[])[0:cardinality(k.conkey) - 1]) AS number
        ) = (SELECT array_agg(number ORDER BY number) FROM unnest(k.conkey) AS number)
        AND (
            x.indpred IS NULL
            OR pg_catalog.pg_get_expr(x.indpred, x.indrelid) ~ '^\([\w"]+ IS NOT NULL\)$'
        )
  );
