-- Loses no data; one case's log is read after all cases of its reader once more.
ALTER POLICY case_comments_party_select ON public.case_comments
    USING (EXISTS (SELECT FROM public.cases AS c WHERE c.id = case_comments.case_id));
ALTER POLICY case_documents_party_select ON public.case_documents
    USING (EXISTS (SELECT FROM public.cases AS c WHERE c.id = case_documents.case_id));
ALTER POLICY case_logs_party_select ON public.case_logs
    USING (EXISTS (SELECT FROM public.cases AS c WHERE c.id = case_logs.case_id));
