-- What PostgreSQL says of these settings where nobody says anything, in a form it takes back:
-- a number without a unit is one of the setting's own.
SELECT s.name, s.boot_val FROM pg_catalog.pg_settings AS s WHERE s.name = ANY (%s)
