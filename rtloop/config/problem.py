"""One thing that is wrong with a configuration, and the problems that several rules share."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

_PLAIN = re.compile(r"[A-Za-z_<][A-Za-z0-9_.<>-]*|<[a-z ]+>")
#: What YAML 1.1 takes for a truth value, or for nothing.
_NO_TEXT = frozenset(["yes", "no", "on", "off", "true", "false", "null", "y", "n"])

Keys = tuple[str | int, ...]
"""Where a value stands: ``("loops", "balance", "outputs", "cart", "safe", 0)``."""


@dataclass(frozen=True)
class Problem:
    """What was found, what would be right, and where.

    ``keys`` is the value (or, with ``at_key``, the key) to point at, unless ``at`` says line and
    column. ``found`` is None where the text of the file says it best. ``judged`` are the values
    that the verdict rests on, beside ``keys`` itself: while one of them is wrong on its own, the
    verdict is withheld.
    """

    keys: Keys
    expected: str
    found: str | None = None
    nearest: str | None = None
    judged: tuple[Keys, ...] = ()
    at_key: bool = False
    at: tuple[int, int] | None = None


def written(keys: Keys) -> str:
    """``("loops", "balance", "observation", 0)`` as ``loops.balance.observation[0]``."""
    text = ""
    for key in keys:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            shown = key if key.isprintable() and len(key) <= 60 else ascii(key)[1:40] + "..."
            text += f".{shown}" if text else shown
    return text or "top level"


def any_of(words: list[str]) -> str:
    """``["hard", "firm", "soft"]`` as ``hard, firm or soft``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def guarded(keys: Keys, rules: Iterable[Problem]) -> Iterator[Problem]:
    """The broken rules of a section, whose kind may be anybody's code: that it fails is one of them.

    ``keys`` is where it stands.
    """
    try:
        yield from rules
    except Exception as error:
        text = " ".join(str(error).split())
        told = f"{type(error).__name__}: {text}" if text else type(error).__name__
        expected = "a section whose rules can be told; its kind is to be mended"
        yield Problem(keys, expected, f"a kind whose own code fails ({told})", at_key=True)


def printable(text: str) -> str:
    """A text that may come from anywhere, for a terminal: control characters are written out."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def flow(value: object) -> str:
    """A suggestion in YAML's flow style, to be pasted as it is: ``fix_dimensions: {"X[0]": 1}``."""
    if not isinstance(value, dict):
        return _scalar(str(value)) if isinstance(value, str) else str(value)
    return "{" + ", ".join(f"{_scalar(str(k))}: {flow(v)}" for k, v in value.items()) + "}"


def _scalar(text: str) -> str:
    """A text as YAML reads it back: plain where that is safe, else in quotes."""
    if is_plain(text):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


def is_plain(text: str) -> bool:
    """Whether YAML reads a text as itself, without quotes."""
    return _PLAIN.fullmatch(text) is not None and text.lower() not in _NO_TEXT


def each_of(words: list[str]) -> str:
    """``["link", "mailbox", "topic"]`` as ``link, mailbox and topic``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def unknown(here: Keys, name: str, kind: str, known: list[str], declared: Keys) -> Problem:
    if known:
        expected = f"the name of {'an' if kind[0] in 'aio' else 'a'} {kind}: {any_of(known)}"
    else:
        expected = f"the name of one under '{declared[-1]}', and there is none"
    nearest = get_close_matches(name, known, 1)
    near = f"'{nearest[0]}'" if nearest else None
    # With nothing known, what was declared may only have been left out as wrong.
    judged = (*declared, name) if known else declared
    return Problem(here, expected, nearest=near, judged=(judged,))


def same_length(
    here: Keys,
    vectors: Mapping[str, object],
    size: int | None,
    size_from: str,
    judged: Keys | None = None,
) -> Iterator[Problem]:
    """All lists among ``vectors`` have one length: ``size``, or that of the first list."""
    reference = (*here, size_from) if judged is None else judged
    for key, values in vectors.items():
        if not isinstance(values, tuple):
            continue
        if size is None:
            size, size_from, reference = len(values), key, (*here, key)
        elif len(values) != size:
            expected = f"{size} as in '{size_from}', or one number for all"
            yield Problem((*here, key), expected, judged=(reference,))


def number(value: float) -> str:
    """A number as a person writes it, with nine significant digits at most."""
    return f"{value:.9g}"


def milliseconds(nanoseconds: int) -> str:
    """A time in ns as the number of ms."""
    return number(nanoseconds / 1e6)
