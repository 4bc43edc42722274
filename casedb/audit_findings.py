"""What is not as it was written in the audit trail, in words."""

from dataclasses import dataclass

from casedb.audit_blocks import Kind


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it was written."""

    kind: Kind
    subject: str
    """The case's or user's id; the first and last of several where it is not known of which."""
    seq: int | None
    """The entry at which it shows; None if it is about the chain as a whole."""
    problem: str
    """A sentence for people."""

    def __str__(self) -> str:
        """Return one line: whose chain, and what is wrong."""
        return f"{self.kind} {self.subject}: {self.problem}"


def of_a_chain(
    kind: Kind, *, subject: str, seq: int | None, previous_seq: int | None, problem: str
) -> Finding:
    """Return the finding in a row of sql/audit/verify-cases.sql or verify-users.sql."""
    if problem == "missing" and seq is not None and previous_seq is not None:
        gone = f"entry {previous_seq + 1}"
        if seq - 1 > previous_seq + 1:
            gone = f"entries {previous_seq + 1} to {seq - 1}"
        words = f"{gone} before entry {seq} {'is' if ' to ' not in gone else 'are'} missing"
    elif problem == "no number":
        words = "an entry of it has no number"
    elif problem == "changed":
        words = f"entry {seq} is not what was written, or the entry before it is not"
    elif problem == "no log":
        words = "it has no log at all"
    else:
        words = f"it has a log, but the {kind} itself is gone"
    return Finding(kind, subject, seq, words)
