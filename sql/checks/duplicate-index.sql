-- Two indexes are the same but for their names.
-- Both are written with every row; one is enough.
-- hint: DROP INDEX CONCURRENTLY the one that no constraint needs.
SELECT x.indexrelid::regclass::text, 'the same as ' || y.indexrelid::regclass
FROM pg_catalog.pg_index AS x
JOIN pg_catalog.pg_class AS c ON c.oid = x.indrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_index AS y
    ON y.indrelid = x.indrelid AND y.indexrelid <> x.indexrelid
    AND y.indkey = x.indkey AND y.indclass = x.indclass AND y.indoption = x.indoption
    AND y.indcollation = x.indcollation AND y.indnkeyatts = x.indnkeyatts
    AND pg_catalog.pg_get_expr(y.indexprs, y.indrelid) IS NOT DISTINCT FROM pg_catalog.pg_get_expr(x.indexprs, x.indrelid)
    AND pg_catalog.pg_get_expr(y.indpred, y.indrelid) IS NOT DISTINCT FROM pg_catalog.pg_get_expr(x.indpred, x.indrelid)
JOIN pg_catalog.pg_class AS j ON j.oid = y.indexrelid AND j.relam = i.relam
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  -- Of the two, the one to drop: not the unique one, else the younger.
  AND (x.indisunique, x.indexrelid::bigint * -1) < (y.indisunique, y.indexrelid::bigint * -1);
