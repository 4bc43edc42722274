-- New rows are held to it from now on; old ones are not read.
ALTER TABLE public.case_logs
    ADD CONSTRAINT case_logs_login_short CHECK (length(login) <= 63) NOT VALID;
