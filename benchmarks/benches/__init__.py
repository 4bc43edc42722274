"""One bench a file: what is compared, in turns, and what it has to reach."""
