-- A table has no primary key, and nothing that stands for one.
-- Its rows cannot be told apart, replicated or paged through.
-- hint: ALTER TABLE ... ADD CONSTRAINT ..._pkey PRIMARY KEY.
SELECT format('%I.%I', n.nspname, c.relname), NULL
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = c.oid AND k.contype = 'p'
  )
  -- What stands for one: unique over columns that are never null, or of which nulls are equal too.
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_index AS x
      WHERE x.indrelid = c.oid AND x.indisunique AND x.indisvalid
        AND x.indpred IS NULL AND x.indexprs IS NULL
        AND (x.indnullsnotdistinct OR NOT EXISTS (
            SELECT FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = c.oid AND a.attnum = ANY (x.indkey) AND NOT a.attnotnull
        ))
  )
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend AS d
      WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
  );
