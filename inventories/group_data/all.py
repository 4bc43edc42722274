"""For every host. deploy/defaults.py lists all that can be said here, with its meaning."""

# We log in as an ordinary user and become root.
_sudo = True
