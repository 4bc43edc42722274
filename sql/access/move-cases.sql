UPDATE public.cases SET status = %(status)s, assigned_to = %(assigned_to)s WHERE id = %(id)s
