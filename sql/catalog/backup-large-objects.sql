-- Count and hash of the large objects; their numbers survive a restore.
SELECT count(*), coalesce(sum(h), 0)::text, coalesce(bit_xor(h), 0)::text
FROM (
    -- Volatile: without it, each object would be read and hashed once for each aggregate.
    SELECT hash_record_extended(ROW (oid::bigint, lo_get(oid)), 0) AS h, pg_is_in_recovery()
    FROM pg_largeobject_metadata
) AS hashed;
