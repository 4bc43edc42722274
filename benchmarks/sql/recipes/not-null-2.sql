-- Reads all rows under a lock that holds nobody.
ALTER TABLE public.case_logs VALIDATE CONSTRAINT case_logs_details_present;
