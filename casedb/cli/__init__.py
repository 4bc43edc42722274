"""The front door: `casedb VERB`. A module a verb; each parses, calls one function and prints."""

from casedb.cli.main import main

__all__ = ["main"]
