SELECT public.erase_comment(%(comment_id)s)
