"""What a host becomes, one subject a file; deploy/site.py says in which order."""
