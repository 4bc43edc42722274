-- The applied migrations as yoyo has them, each with when (UTC) and by whom.
SELECT m.migration_id, m.applied_at_utc AT TIME ZONE 'UTC', l.username || '@' || l.hostname
FROM ops._yoyo_migration AS m
LEFT JOIN LATERAL (
    SELECT username, hostname FROM ops._yoyo_log
    WHERE migration_id = m.migration_id AND operation IN ('apply', 'mark')
    ORDER BY created_at_utc DESC
    LIMIT 1
) AS l ON true
ORDER BY m.applied_at_utc, m.migration_id;
