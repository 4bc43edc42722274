-- It stays as it was before the first of these.
SELECT 1;
