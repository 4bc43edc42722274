INSERT INTO public.cases (id, title, description, created_by)
VALUES (%(id)s, 'access probe', '', %(created_by)s)
