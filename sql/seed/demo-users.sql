-- The plan's three users, one a role. Those that are there stay as they are.
INSERT INTO public.users (email, password, role, first_name, last_name)
SELECT demo.email, demo.password, demo.role, demo.first_name, demo.last_name
FROM (VALUES
    ('clerk@example.com', %(clerk)s, 'CLERK', 'John', 'Clerk'),
    ('chair@example.com', %(chair)s, 'CHAIR', 'Jane', 'Chair'),
    ('caseworker@example.com', %(caseworker)s, 'CASEWORKER', 'Bob', 'Caseworker')
) AS demo (email, password, role, first_name, last_name)
WHERE NOT EXISTS (SELECT FROM public.users AS u WHERE u.email = demo.email);
