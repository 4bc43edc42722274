-- A constraint does not become unproven again.
SELECT 1;
