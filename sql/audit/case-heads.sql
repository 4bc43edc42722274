-- The heads of the chains of up to %(size)s cases, from the id %(last)s down, in three values: whose they are, 16 bytes
-- each, one after the other; the numbers of their last entries, 4 bytes each; and the hashes of these, 32 bytes each.
-- Both columns descending: the unique key is read backwards, and nothing is sorted. One value for all, as a
-- client that gets each row by itself is as long at it as the server; three, as putting each row together costs more
-- than the client takes to do it for all at once; and without an ORDER BY, which would sort anew what comes sorted.
-- All three are in the order in which the rows come.
-- A hash that is not one (the CHECK can be dropped) is hashed, as the bytes after it would be read as another's; and an
-- entry without a number would leave its chain out.
SELECT string_agg(uuid_send(head.case_id), ''),
       string_agg(int4send(coalesce(head.seq, 0)), ''),
       string_agg(CASE WHEN length(head.hash) = 32 THEN head.hash ELSE sha256(coalesce(head.hash, '')) END, '')
FROM (
    SELECT DISTINCT ON (l.case_id) l.case_id, l.seq, l.hash
    FROM public.case_logs AS l
    WHERE l.case_id <= %(last)s
    ORDER BY l.case_id DESC, l.seq DESC
    LIMIT %(size)s
) AS head;
