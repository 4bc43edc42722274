-- What takes away from a drill's copy, once it has been compared, what would stand in the way of trying
-- it: event triggers may forbid everything, and limits count sessions that are just ending.
SELECT format('ALTER EVENT TRIGGER %I DISABLE', evtname) FROM pg_event_trigger WHERE evtenabled <> 'D'
UNION ALL
SELECT format('ALTER ROLE %I CONNECTION LIMIT -1', rolname) FROM pg_roles WHERE rolconnlimit <> -1
UNION ALL
SELECT format('ALTER DATABASE %I CONNECTION LIMIT -1', current_database());
