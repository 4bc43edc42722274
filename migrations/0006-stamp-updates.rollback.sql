-- Loses no data; from here on the client says when a row was changed.
DROP TRIGGER cases_set_updated_at ON public.cases;
DROP TRIGGER users_set_updated_at ON public.users;
DROP FUNCTION public.set_updated_at();
