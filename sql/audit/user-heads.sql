-- The heads of the chains of all users, as in case-heads.sql.
SELECT string_agg(
    concat('user', E'\t', head.user_id, E'\t', head.seq, E'\t', encode(substring(head.hash FROM 1 FOR 20), 'hex'), E'\n'),
    '' ORDER BY head.user_id DESC
)
FROM (
    SELECT DISTINCT ON (l.user_id) l.user_id, l.seq, l.hash
    FROM audit.user_logs AS l
    ORDER BY l.user_id DESC, l.seq DESC
) AS head;
