-- The heads of the chains of up to %(size)s cases, from the id %(last)s down, as lines in one text: kind, whose it
-- is, the number and the hash of the last entry.
-- 160 of the 256 bits: no second content for them can be found, and hashes do not compress.
-- Both columns descending: the unique key is read backwards, and nothing is sorted. One text for all, as a
-- client that gets each line by itself is as long at it as the server; put together with ||, as concat() looks
-- up how to print each of its values, and without an ORDER BY, which would sort anew what comes sorted.
SELECT string_agg(
    E'case\t' || head.case_id::text || E'\t' || head.seq::text || E'\t'
    || encode(substring(head.hash FROM 1 FOR 20), 'hex') || E'\n',
    ''
)
FROM (
    SELECT DISTINCT ON (l.case_id) l.case_id, l.seq, l.hash
    FROM public.case_logs AS l
    WHERE l.case_id <= %(last)s
    ORDER BY l.case_id DESC, l.seq DESC
    LIMIT %(size)s
) AS head;
