"""Programs that run on a host, as root: nothing but the standard library.

They are sent on standard input together with what they are asked, so that neither an argument
list nor sudo's log shows any of it, and nothing of ours has to be installed first.
"""
