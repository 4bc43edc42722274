-- As a constraint first, which need not read the old rows.
ALTER TABLE public.case_logs
    ADD CONSTRAINT case_logs_details_present CHECK (details IS NOT NULL) NOT VALID;
