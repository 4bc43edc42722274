-- Holds writers of both tables while every row is looked up, and here, because of row security, readers.
ALTER TABLE public.users NO FORCE ROW LEVEL SECURITY;
ALTER TABLE public.case_logs NO FORCE ROW LEVEL SECURITY;
ALTER TABLE public.case_logs
    ADD CONSTRAINT case_logs_user_again_fkey FOREIGN KEY (user_id)
    REFERENCES public.users (id) ON DELETE RESTRICT;
ALTER TABLE public.users FORCE ROW LEVEL SECURITY;
ALTER TABLE public.case_logs FORCE ROW LEVEL SECURITY;
