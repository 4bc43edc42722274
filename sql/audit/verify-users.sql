-- Checks the chains of the users: their number, the number of entries, and those that are wrong.
WITH checked AS (
    SELECT l.user_id, l.seq, lag(l.seq, 1, 0) OVER chain AS previous_seq,
           l.hash IS DISTINCT FROM sha256(
               lag(l.hash, 1, '\x') OVER chain || convert_to(
                   jsonb_build_array(
                       l.user_id, l.seq, l.actor, l.action, l.details,
                       (extract(epoch FROM l."timestamp") * 1000)::bigint, l.login
                   )::text,
                   'UTF8'
               )
           ) AS is_wrong
    FROM audit.user_logs AS l
    WINDOW chain AS (PARTITION BY l.user_id ORDER BY l.seq)
),
findings AS (
    SELECT c.user_id AS subject, c.seq, c.previous_seq,
           CASE
               WHEN c.seq IS NULL THEN 'no number'
               WHEN c.seq <> c.previous_seq + 1 THEN 'missing'
               ELSE 'changed'
           END AS problem
    FROM checked AS c
    WHERE c.is_wrong OR c.seq IS DISTINCT FROM c.previous_seq + 1

    UNION ALL
    SELECT u.id, NULL, NULL, 'no log'
    FROM public.users AS u
    WHERE NOT EXISTS (SELECT FROM audit.user_logs AS l WHERE l.user_id = u.id)

    UNION ALL
    -- A deleted user leaves an entry that says so.
    SELECT l.user_id, NULL, NULL, 'no user'
    FROM (
        SELECT DISTINCT ON (l.user_id) l.user_id, l.action
        FROM audit.user_logs AS l ORDER BY l.user_id, l.seq DESC
    ) AS l
    WHERE l.action <> 'deleted' AND NOT EXISTS (SELECT FROM public.users AS u WHERE u.id = l.user_id)
)
SELECT (SELECT count(DISTINCT c.user_id) FROM checked AS c),
       (SELECT count(*) FROM checked),
       (SELECT coalesce(jsonb_agg(f ORDER BY f.subject, f.seq), '[]') FROM findings AS f);
