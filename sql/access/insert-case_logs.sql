INSERT INTO public.case_logs (id, case_id, user_id, action)
VALUES (%(id)s, %(case_id)s, %(user_id)s, 'access_probed')
