-- Loses the ways that were added to the status flow; from here on a case goes anywhere.
DROP TRIGGER users_guard_caseworker ON public.users;
DROP TRIGGER cases_guard_update ON public.cases;
DROP TRIGGER cases_guard_insert ON public.cases;
DROP TRIGGER cases_bulk_load ON public.cases;
DROP FUNCTION public.reassign_case(uuid, uuid, uuid);
DROP FUNCTION ops.guard_caseworker();
DROP FUNCTION ops.guard_case();
DROP FUNCTION ops.acting_role();
DROP FUNCTION ops.require_bulk_load();
REVOKE UPDATE (updated_at) ON public.users FROM case_lookup;
REVOKE ALL ON public.cases FROM case_lookup;
DROP TABLE ops.case_transitions;
REVOKE ALL ON SCHEMA ops FROM case_lookup;
