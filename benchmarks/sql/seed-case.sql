-- One case of his, which its trigger logs.
INSERT INTO public.cases (title, description, created_by)
VALUES (%s, 'This is a test case', '00000000-0000-7000-8000-00000000be4c')
