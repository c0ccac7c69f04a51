"""docs/policy.md says of every kind of term what its class says."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from rtloop.policy import ObservationTerm
from rtloop.policy.terms.term import TERMS

TEXT = (Path(__file__).parents[2] / "docs" / "policy.md").read_text(encoding="utf-8")
_SHARED = ObservationTerm.model_fields


def sentence(kind: type[ObservationTerm]) -> str:
    """The first sentence of a class, on one line."""
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())


def test_every_kind_of_term_is_documented_with_its_sentence_and_its_keys() -> None:
    body = TEXT.split("\n## Terms\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `(\w+)` \| .*? \| (.*?) \| (.+) \|$", body, re.MULTILINE)
    expected = []
    for kind in TERMS:
        own = {key: f for key, f in kind.model_fields.items() if key not in _SHARED}
        own = {kind.kind: own.pop(kind.kind), **own}  # the key that names the kind comes first
        expected += [
            (key, "required" if f.is_required() else _shown(f.default)) for key, f in own.items()
        ]
        assert (kind.kind, "required", sentence(kind)) in rows
    assert [(key, default) for key, default, _ in rows] == expected


def _shown(default: object) -> str:
    if default is None or default in ({}, (), []):
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{list(default) if isinstance(default, tuple) else default}`"
