SELECT public.erase_case(%(case_id)s)
