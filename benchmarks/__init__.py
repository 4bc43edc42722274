"""Numbers anyone can repeat: `casedb bench`, and docs/performance.md out of its JSON.

It needs the checkout and its development tools, so it is no part of the installed casedb. One file
a bench in benches/; what they share is here.
"""
