-- The owner is bound again. `casedb check schema` finds it where this one is forgotten.
ALTER TABLE public.users FORCE ROW LEVEL SECURITY;
ALTER TABLE public.case_logs FORCE ROW LEVEL SECURITY;
