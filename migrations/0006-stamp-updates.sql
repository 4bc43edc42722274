-- updated_at is the server's time of the last change, whatever the client's clock says.
-- depends: 0005-create-indexes

-- An empty search_path: pg_restore runs triggers with one, and nobody can put a now() before ours.
CREATE FUNCTION public.set_updated_at() RETURNS trigger
LANGUAGE plpgsql
SET search_path = ''
AS $$
BEGIN
    new.updated_at := now();
    RETURN new;
END
$$;

COMMENT ON FUNCTION public.set_updated_at() IS 'Trigger: stamps updated_at with the server''s time.';

CREATE TRIGGER users_set_updated_at BEFORE UPDATE ON public.users
    FOR EACH ROW EXECUTE FUNCTION public.set_updated_at();
CREATE TRIGGER cases_set_updated_at BEFORE UPDATE ON public.cases
    FOR EACH ROW EXECUTE FUNCTION public.set_updated_at();
