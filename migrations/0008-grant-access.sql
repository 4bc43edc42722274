-- What each role may do with the rows that its policies show it. Nobody deletes, nobody truncates.
-- depends: 0007-enable-row-security

-- Columns by name: nobody changes a case's creator or an id, and only a chair assigns.
GRANT SELECT, INSERT ON public.cases TO case_clerk, case_chair;
GRANT SELECT ON public.cases TO case_caseworker;
GRANT UPDATE (title, description, status, priority, updated_at) ON public.cases TO case_clerk;
GRANT UPDATE (title, description, status, priority, assigned_to, updated_at)
    ON public.cases TO case_chair;
GRANT UPDATE (description, status, priority, updated_at) ON public.cases TO case_caseworker;

-- Written by triggers alone: whoever could add an entry by hand could tell of what never happened.
GRANT SELECT ON public.case_logs TO case_clerk, case_chair, case_caseworker;
-- Written once.
GRANT SELECT, INSERT ON public.case_documents TO case_clerk, case_chair, case_caseworker;

-- Never the password: the login function alone hands it out, for one e-mail at a time.
GRANT SELECT (id, email, role, first_name, last_name, is_active, created_at, updated_at)
    ON public.users TO case_clerk, case_chair, case_caseworker, case_readonly, case_seed;
GRANT UPDATE (password, first_name, last_name, updated_at)
    ON public.users TO case_clerk, case_chair, case_caseworker;

GRANT SELECT ON public.cases, public.case_logs, public.case_documents TO case_readonly;

GRANT INSERT, UPDATE, DELETE ON public.users TO case_seed;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.cases, public.case_documents TO case_seed;
GRANT SELECT, INSERT ON public.case_logs TO case_seed;

-- An id is made by the column's default, which runs with the rights of whoever inserts.
GRANT EXECUTE ON FUNCTION public.uuid_v7() TO case_clerk, case_chair, case_caseworker, case_seed;
