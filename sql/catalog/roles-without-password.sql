-- Which of these login roles have no SCRAM verifier yet (superuser only: pg_authid).
SELECT rolname::text
FROM pg_authid
WHERE rolname = ANY (%s) AND rolpassword IS NULL;
