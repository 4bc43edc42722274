-- The heads of the chains of up to %(size)s users, from the id %(last)s down, as in case-heads.sql.
SELECT string_agg(uuid_send(head.user_id), ''),
       string_agg(int4send(coalesce(head.seq, 0)), ''),
       string_agg(CASE WHEN length(head.hash) = 32 THEN head.hash ELSE sha256(coalesce(head.hash, '')) END, '')
FROM (
    SELECT DISTINCT ON (l.user_id) l.user_id, l.seq, l.hash
    FROM audit.user_logs AS l
    WHERE l.user_id <= %(last)s
    ORDER BY l.user_id DESC, l.seq DESC
    LIMIT %(size)s
) AS head;
