-- Somebody who creates cases.
INSERT INTO public.users (id, email, password, role, first_name, last_name)
VALUES (
    '00000000-0000-7000-8000-00000000be4c', 'bench@example.com', '$2b$10$' || repeat('x', 53),
    'CLERK', 'Bench', 'Clerk'
)
