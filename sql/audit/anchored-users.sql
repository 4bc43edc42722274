-- Of the given heads of chains (20 bytes of each hash): those whose entry is gone, or has another hash now.
SELECT a.subject, a.seq, l.hash IS NULL
FROM unnest(%s::uuid[], %s::integer[], %s::bytea[]) AS a (subject, seq, hash)
LEFT JOIN audit.user_logs AS l ON l.user_id = a.subject AND l.seq = a.seq
WHERE substring(l.hash FROM 1 FOR 20) IS DISTINCT FROM a.hash
ORDER BY a.subject;
