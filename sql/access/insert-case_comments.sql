INSERT INTO public.case_comments (id, case_id, user_id, body)
VALUES (%(id)s, %(case_id)s, %(user_id)s, 'access probe')
