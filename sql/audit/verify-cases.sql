-- Checks the chains of the cases whose ids lie between %(first)s and %(last)s, both included: number
-- of entries, and those that are not what they should be.
-- The hash is spelt out here: a function of the database would be the tamperer's to replace.
WITH entries AS (
    SELECT l.*,
           lag(l.seq, 1, 0) OVER chain AS previous_seq,
           lag(l.hash, 1, '\x') OVER chain AS previous_hash
    FROM public.case_logs AS l
    WHERE l.case_id BETWEEN %(first)s AND %(last)s
    WINDOW chain AS (PARTITION BY l.case_id ORDER BY l.seq)
),
checked AS (
    SELECT e.case_id, e.seq, e.previous_seq,
           e.hash IS DISTINCT FROM sha256(
               e.previous_hash || convert_to(
                   jsonb_build_array(
                       e.id, e.case_id, e.seq, e.user_id, e.action, e.details,
                       (extract(epoch FROM e."timestamp") * 1000)::bigint, e.login
                   )::text,
                   'UTF8'
               )
           ) AS is_wrong
    FROM entries AS e
),
findings AS (
    SELECT c.case_id AS subject, c.seq, c.previous_seq,
           CASE
               WHEN c.seq IS NULL THEN 'no number'
               WHEN c.seq <> c.previous_seq + 1 THEN 'missing'
               ELSE 'changed'
           END AS problem
    FROM checked AS c
    WHERE c.is_wrong OR c.seq IS DISTINCT FROM c.previous_seq + 1

    UNION ALL
    -- Every case begins with an entry.
    SELECT c.id, NULL, NULL, 'no log'
    FROM public.cases AS c
    WHERE c.id BETWEEN %(first)s AND %(last)s
      AND NOT EXISTS (SELECT FROM public.case_logs AS l WHERE l.case_id = c.id)

    UNION ALL
    SELECT c.case_id, NULL, NULL, 'no case'
    FROM checked AS c
    WHERE c.previous_seq = 0 AND NOT EXISTS (SELECT FROM public.cases AS k WHERE k.id = c.case_id)
)
SELECT (SELECT count(*) FROM checked),
       (SELECT coalesce(jsonb_agg(f ORDER BY f.subject, f.seq), '[]') FROM findings AS f);
