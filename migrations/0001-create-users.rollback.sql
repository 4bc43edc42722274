-- Loses every user.
DROP TABLE public.users;
DROP DOMAIN public.user_role;
DROP FUNCTION public.uuid_v7();
