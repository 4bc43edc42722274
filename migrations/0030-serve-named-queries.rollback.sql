-- Loses no data; search by title is gone, pages of open cases become slow.
DROP FUNCTION public.find_cases(text, integer, timestamptz, uuid);
DROP INDEX public.idx_cases_title_words;
DROP INDEX public.idx_cases_open_assignee;
DROP INDEX public.idx_cases_open_creator;
DROP INDEX public.idx_cases_open;
