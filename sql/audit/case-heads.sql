-- The heads of the chains of up to %(size)s cases, from the id %(last)s down, one after the other in one value of 52
-- bytes each: whose it is, the number and the hash of the last entry.
-- Both columns descending: the unique key is read backwards, and nothing is sorted. One value for all, as a
-- client that gets each row by itself is as long at it as the server; and without an ORDER BY, which would sort
-- anew what comes sorted.
-- A hash that is not one (the CHECK can be dropped) is hashed, as the bytes after it would be read as another's; and an
-- entry without a number would leave its chain out.
SELECT string_agg(
    uuid_send(head.case_id) || int4send(coalesce(head.seq, 0))
    || CASE WHEN length(head.hash) = 32 THEN head.hash ELSE sha256(coalesce(head.hash, '')) END,
    ''
)
FROM (
    SELECT DISTINCT ON (l.case_id) l.case_id, l.seq, l.hash
    FROM public.case_logs AS l
    WHERE l.case_id <= %(last)s
    ORDER BY l.case_id DESC, l.seq DESC
    LIMIT %(size)s
) AS head;
