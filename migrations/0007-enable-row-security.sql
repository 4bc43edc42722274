-- Who sees and changes which rows: a policy for each of the application's three database roles.
-- depends: 0006-stamp-updates

-- Who acts: set for one transaction with set_config('app.user_id', ..., true). Afterwards the setting
-- is '' and not missing, hence nullif. SQL and no options, so that the planner can inline it.
CREATE FUNCTION public.current_user_id() RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE SECURITY INVOKER
RETURN nullif(current_setting('app.user_id', true), '')::uuid;

COMMENT ON FUNCTION public.current_user_id() IS
    'The user for whom this transaction acts (setting app.user_id); null if it was not said.';

GRANT EXECUTE ON FUNCTION public.current_user_id()
    TO case_app, case_clerk, case_chair, case_caseworker, case_seed, case_readonly;

-- FORCE: the owner is bound as well, so that a view or function of his cannot leak.
ALTER TABLE public.users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE public.cases ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE public.case_logs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE public.case_documents ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

-- One policy a role and a verb. One policy for all with OR inside would find no index: a clerk's page
-- of a million cases takes 2 ms this way and 1.4 s that way.
-- (SELECT ...) makes the identity a constant of the query. Nobody sees anything without one.

-- Cases: a clerk has those he created.
CREATE POLICY cases_clerk_select ON public.cases FOR SELECT TO case_clerk
    USING (created_by = (SELECT public.current_user_id()));
CREATE POLICY cases_clerk_insert ON public.cases FOR INSERT TO case_clerk
    WITH CHECK (created_by = (SELECT public.current_user_id()) AND assigned_to IS NULL);
CREATE POLICY cases_clerk_update ON public.cases FOR UPDATE TO case_clerk
    USING (created_by = (SELECT public.current_user_id()))
    WITH CHECK (created_by = (SELECT public.current_user_id()));

-- A caseworker has those assigned to him.
CREATE POLICY cases_caseworker_select ON public.cases FOR SELECT TO case_caseworker
    USING (assigned_to = (SELECT public.current_user_id()));
CREATE POLICY cases_caseworker_update ON public.cases FOR UPDATE TO case_caseworker
    USING (assigned_to = (SELECT public.current_user_id()))
    WITH CHECK (assigned_to = (SELECT public.current_user_id()));

-- A chair has them all: somebody has to see a case before it can be assigned.
CREATE POLICY cases_chair_select ON public.cases FOR SELECT TO case_chair
    USING ((SELECT public.current_user_id()) IS NOT NULL);
CREATE POLICY cases_chair_insert ON public.cases FOR INSERT TO case_chair
    WITH CHECK (created_by = (SELECT public.current_user_id()));
CREATE POLICY cases_chair_update ON public.cases FOR UPDATE TO case_chair
    USING ((SELECT public.current_user_id()) IS NOT NULL)
    WITH CHECK ((SELECT public.current_user_id()) IS NOT NULL);

-- Logs and documents go with their case: the EXISTS is itself under the policies above. EXISTS and
-- not IN, which would read all visible cases first. No policy for UPDATE: a record is not rewritten; and
-- none to INSERT into the log, which triggers write.
CREATE POLICY case_logs_party_select ON public.case_logs FOR SELECT TO case_clerk, case_caseworker
    USING (EXISTS (SELECT FROM public.cases AS c WHERE c.id = case_logs.case_id));
CREATE POLICY case_logs_chair_select ON public.case_logs FOR SELECT TO case_chair
    USING ((SELECT public.current_user_id()) IS NOT NULL);

CREATE POLICY case_documents_party_select ON public.case_documents
    FOR SELECT TO case_clerk, case_caseworker
    USING (EXISTS (SELECT FROM public.cases AS c WHERE c.id = case_documents.case_id));
CREATE POLICY case_documents_party_insert ON public.case_documents
    FOR INSERT TO case_clerk, case_caseworker
    WITH CHECK (
        uploaded_by = (SELECT public.current_user_id())
        AND EXISTS (SELECT FROM public.cases AS c WHERE c.id = case_documents.case_id)
    );
CREATE POLICY case_documents_chair_select ON public.case_documents FOR SELECT TO case_chair
    USING ((SELECT public.current_user_id()) IS NOT NULL);
CREATE POLICY case_documents_chair_insert ON public.case_documents FOR INSERT TO case_chair
    WITH CHECK (uploaded_by = (SELECT public.current_user_id()));

-- Users: the names of the colleagues are for everybody, one's own row is for oneself to change.
CREATE POLICY users_staff_select ON public.users
    FOR SELECT TO case_clerk, case_chair, case_caseworker
    USING ((SELECT public.current_user_id()) IS NOT NULL);
CREATE POLICY users_self_update ON public.users
    FOR UPDATE TO case_clerk, case_chair, case_caseworker
    USING (id = (SELECT public.current_user_id()))
    WITH CHECK (id = (SELECT public.current_user_id()));
