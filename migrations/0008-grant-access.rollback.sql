-- Loses no data; until it is applied again only the owner and the backup get at anything.
-- A right on a column is taken back along with the same right on the table.
REVOKE ALL ON public.users, public.cases, public.case_logs, public.case_documents FROM
    case_clerk, case_chair, case_caseworker, case_app, case_seed, case_readonly;
REVOKE ALL ON FUNCTION public.uuid_v7() FROM case_clerk, case_chair, case_caseworker, case_seed;
