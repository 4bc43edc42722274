-- A user who exists until the probe rolls back. The password is no hash of anything.
INSERT INTO public.users (id, email, password, role, first_name, last_name)
VALUES (
    %(id)s, 'probe-' || %(id)s::text || '@access.invalid',
    '$2b$10$' || repeat('.', 53), %(role)s, 'Probe', 'Access'
)
