-- How many rows were inserted, changed or deleted in a database, ever, and since when that is counted; nothing where it
-- is not. A session adds its own at its end at the latest, before the server lets go of the database.
SELECT s.tup_inserted + s.tup_updated + s.tup_deleted AS rows, s.stats_reset
FROM pg_stat_database AS s JOIN pg_database AS d ON d.oid = s.datid
WHERE d.datname = %s AND current_setting('track_counts')::boolean;
