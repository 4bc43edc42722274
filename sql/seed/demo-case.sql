-- The plan's sample case. Its id is fixed, as nothing else about a case is unique.
INSERT INTO public.cases (id, title, description, status, priority, created_by)
SELECT
    'ca5e0000-0000-4000-8000-000000000001',
    'Sample Case for Testing',
    'This is a test case for Phase 0 validation',
    'NEW',
    'MEDIUM',
    clerk.id
FROM public.users AS clerk
WHERE clerk.email = 'clerk@example.com'
  AND NOT EXISTS (
      SELECT FROM public.cases AS c WHERE c.id = 'ca5e0000-0000-4000-8000-000000000001'
  );
