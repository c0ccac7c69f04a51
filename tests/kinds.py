"""What messages say of all kinds of a section. One more kind is in them, and no test knows of it."""

from __future__ import annotations

import re
from typing import Any

from rtloop.policy.terms.term import TERMS, ObservationTerm
from rtloop.ports.port import INPUTS, OUTPUTS, InputSection, OutputSection

_FAMILIES: dict[str, tuple[Any, type[Any]]] = {
    "inputs": (INPUTS, InputSection),
    "outputs": (OUTPUTS, OutputSection),
    "terms": (TERMS, ObservationTerm),
}
_PLACE = re.compile(r"<(one|none|keys) of (inputs|outputs|terms)>")


def filled(text: str) -> str:
    """A message with ``<one of inputs>``, ``<none of terms>``, ``<keys of outputs>`` put into words."""
    return _PLACE.sub(lambda match: _told(match[1], *_FAMILIES[match[2]]), text)


def _told(what: str, kinds: Any, base: type[Any]) -> str:
    names = sorted(kind.kind for kind in kinds)
    if what == "keys":
        own = [key for kind in kinds for key in kind.model_fields]
        return ", ".join(dict.fromkeys([*names, *base.model_fields, *own]))
    if what == "none" and len(names) == 2:
        return f"neither {names[0]} nor {names[1]}"
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    return f"none of {listed}" if what == "none" else f"exactly one of {listed}"
