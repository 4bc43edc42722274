-- The entries that may be the given heads of chains, each in 52 bytes, with the place of the head in the list: id (16
-- bytes), number (4) and hash (32). Of a head the first and the last id that it can be of are given (the same, if all of
-- it is known).
SELECT a.place,
       uuid_send(l.case_id) || int4send(l.seq)
       || CASE WHEN length(l.hash) = 32 THEN l.hash ELSE sha256(coalesce(l.hash, '')) END
FROM unnest(%s::text[]::uuid[], %s::text[]::uuid[], %s::integer[]) WITH ORDINALITY AS a (first, last, seq, place)
JOIN public.case_logs AS l ON l.case_id BETWEEN a.first AND a.last AND l.seq = a.seq;
