SELECT public.role_of_user(%(user_id)s)
