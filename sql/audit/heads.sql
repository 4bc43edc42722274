-- The head of every chain: its kind, whose it is, the number and the hash of its last entry.
-- 160 of the 256 bits: no second content for them can be found, and hashes do not compress.
-- Both columns descending: the unique key is then read backwards, and nothing is sorted.
COPY (
    (
        SELECT DISTINCT ON (l.case_id) 'case', l.case_id, l.seq, encode(substring(l.hash FROM 1 FOR 20), 'hex')
        FROM public.case_logs AS l
        ORDER BY l.case_id DESC, l.seq DESC
    )
    UNION ALL
    (
        SELECT DISTINCT ON (l.user_id) 'user', l.user_id, l.seq, encode(substring(l.hash FROM 1 FOR 20), 'hex')
        FROM audit.user_logs AS l
        ORDER BY l.user_id DESC, l.seq DESC
    )
) TO STDOUT;
