-- The first entry in the sample case's log. NOT EXISTS and not ON CONFLICT: an audit trigger must not
-- fire for an entry that is not written.
INSERT INTO public.case_logs (id, case_id, user_id, action, details)
SELECT
    'ca5e0000-0000-4000-8000-000000000002',
    sample.id,
    sample.created_by,
    'created',
    '{"message": "Case created during Phase 0 setup"}'
FROM public.cases AS sample
WHERE sample.id = 'ca5e0000-0000-4000-8000-000000000001'
  AND NOT EXISTS (
      SELECT FROM public.case_logs AS l WHERE l.id = 'ca5e0000-0000-4000-8000-000000000002'
  );
