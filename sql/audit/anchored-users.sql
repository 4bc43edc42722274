-- The entries that may be the given heads of chains, as in anchored-cases.sql.
SELECT a.place,
       uuid_send(l.user_id) || int4send(l.seq)
       || CASE WHEN length(l.hash) = 32 THEN l.hash ELSE sha256(coalesce(l.hash, '')) END
FROM unnest(%s::text[]::uuid[], %s::text[]::uuid[], %s::integer[]) WITH ORDINALITY AS a (first, last, seq, place)
JOIN audit.user_logs AS l ON l.user_id BETWEEN a.first AND a.last AND l.seq = a.seq;
