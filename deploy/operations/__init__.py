"""Our own pyinfra operations: they converge both ways, and a second run finds nothing to do.

Each compares with `deploy.facts.host_state()`, notes what differs for the plan, and yields the
commands. None of them raises once operations run: see `deploy.sending.failing`.
"""
