(
    SELECT s.id AS case_id FROM public.cases AS s
    WHERE to_tsvector('pg_catalog.simple', s.title) @@ websearch_to_tsquery('pg_catalog.simple', $1)
      AND (s.created_at, s.id) < (
          coalesce($3::timestamptz, 'infinity'),
          coalesce($4::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
      )
    ORDER BY s.created_at DESC, s.id DESC LIMIT $2
)
