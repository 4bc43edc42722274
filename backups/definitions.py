"""What PostgreSQL prints of an expression, as it prints it after having read that back. Pure.

A restore makes everything from such texts, and the parser does not always make of a text what it
was printed from. Two things are known to come back in another form, always the same one:

- `status IN ('a', 'b')` on a varchar column is an array that is cast. Read back, the cast is that
  of each element.
- `status IN (other, lower(status))` is a chain of OR, each pair in parentheses of its own (with NOT
  IN: of AND). Read back, it is one list.
"""

import re
from dataclasses import dataclass, field

_WORD = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|[][(),]| OR | AND """)
_ARRAY = "(ARRAY["
_CAST = re.compile(r"""::((?:[\w .]|"(?:[^"]|"")*"|\(\d+(?:,-?\d+)?\))+)\[\]""")
_CONNECTIVES = (" OR ", " AND ")


@dataclass
class _Group:
    """What is between two brackets, and what separates its parts: where, and by which word."""

    begin: int
    end: int = 0
    separators: list[tuple[int, str]] = field(default_factory=list)


def settled(definition: str) -> str:
    """Return `definition` as PostgreSQL prints it after a dump and a restore.

    >>> settled("((x)::text = ANY ((ARRAY['a'::character varying])::text[]))")
    "((x)::text = ANY (ARRAY[('a'::character varying)::text]))"
    >>> settled("(((x = a) OR (x = b)) OR (x = c))")
    '((x = a) OR (x = b) OR (x = c))'
    """
    while (changed := _settled_once(definition)) is not None:
        definition = changed
    return definition


def _settled_once(text: str) -> str | None:
    """Return `text` with one thing in its last form; None if all are."""
    if _ARRAY not in text and "((" not in text:
        return None
    groups = _groups(text)
    for group in groups.values():
        changed = _each_cast(text, group, groups) or _one_list(text, group, groups)
        if changed is not None:
            return changed
    return None


def _each_cast(text: str, group: _Group, groups: dict[int, _Group]) -> str | None:
    array = groups.get(group.begin + len(_ARRAY) - 1)
    if not text.startswith(_ARRAY, group.begin) or not array or array.end + 1 != group.end:
        return None
    if not (cast := _CAST.match(text, group.end + 1)):
        return None
    ends = [*(at for at, _ in array.separators), array.end]
    items = [text[a + 1 : b].strip() for a, b in zip([array.begin, *ends], ends, strict=False)]
    # An array in an array has the same type; its own elements have the one below.
    types = [cast[1] + ("[]" if item.startswith("ARRAY[") else "") for item in items]
    each = ", ".join(f"({item})::{name}" for item, name in zip(items, types, strict=True))
    return f"{text[: group.begin]}ARRAY[{each}]{text[cast.end() :]}"


def _one_list(text: str, group: _Group, groups: dict[int, _Group]) -> str | None:
    first = groups.get(group.begin + 1)
    if not first or not first.separators or not group.separators:
        return None
    at, word = group.separators[0]
    if word not in _CONNECTIVES or at != first.end + 1 or first.separators[0][1] != word:
        return None
    return text[: first.begin] + text[first.begin + 1 : first.end] + text[at:]


def _groups(text: str) -> dict[int, _Group]:
    """Return the groups by where they begin, inner ones first; none if brackets do not match."""
    found: dict[int, _Group] = {}
    open_ones: list[_Group] = []
    for word in _WORD.finditer(text):
        if word[0] in ("(", "["):
            open_ones.append(_Group(word.start()))
        elif word[0] in (")", "]"):
            if not open_ones:
                return {}
            group = open_ones.pop()
            group.end = word.start()
            found[group.begin] = group
        elif open_ones and word[0][0] not in "'\"":
            open_ones[-1].separators.append((word.start(), word[0]))
    return {} if open_ones else found
