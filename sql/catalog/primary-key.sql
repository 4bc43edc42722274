-- The columns of a table's primary key, in the key's order.
SELECT a.attname
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
WHERE i.indisprimary AND n.nspname = %s AND c.relname = %s
ORDER BY array_position(i.indkey::int2[], a.attnum);
