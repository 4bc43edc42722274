SELECT FROM public.login('probe-' || %(user_id)s::text || '@access.invalid')
