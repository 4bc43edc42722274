-- The heads of the chains of up to %(size)s cases, from the id %(last)s down, as lines in one text: kind, whose it
-- is, the number and the hash of the last entry; and the lowest of the ids.
-- 160 of the 256 bits: no second content for them can be found, and hashes do not compress.
-- One look-up a case: the log has seven times as many entries. One text for all, as a client that gets
-- each line by itself is as long at it as the server.
WITH page AS (
    SELECT c.id FROM public.cases AS c WHERE c.id <= %(last)s ORDER BY c.id DESC LIMIT %(size)s
)
SELECT
    string_agg(
        concat('case', E'\t', p.id, E'\t', head.seq, E'\t', encode(substring(head.hash FROM 1 FOR 20), 'hex'), E'\n'),
        '' ORDER BY p.id DESC
    ) FILTER (WHERE head.seq IS NOT NULL),
    (SELECT q.id FROM page AS q ORDER BY q.id LIMIT 1)
FROM page AS p
LEFT JOIN LATERAL (
    SELECT l.seq, l.hash FROM public.case_logs AS l WHERE l.case_id = p.id ORDER BY l.seq DESC LIMIT 1
) AS head ON true;
