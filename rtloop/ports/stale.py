"""What becomes of a cycle whose input is stale: ``on_stale``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from rtloop.config.by_name import CommandValues, Values, name_rules
from rtloop.config.problem import Keys, Problem
from rtloop.config.section import Section

StaleWord = Literal["hold", "fault", "use"]


class StandIn(Section):
    """Values in place of a stale sample, as if they had been measured."""

    use: CommandValues = Field(
        description="one number for all elements, one for each, or by their names"
    )


def _kind(value: object) -> str:
    return "@section" if isinstance(value, dict | StandIn) else "@word"


OnStale = Annotated[
    Annotated[StaleWord, Tag("@word")] | Annotated[StandIn, Tag("@section")],
    Discriminator(_kind),
]


def stand_in_rules(
    here: Keys, values: Values, names: Sequence[str] | None, count: int | None, has_names: bool
) -> Iterator[Problem]:
    """Broken rules of ``use`` at ``here``, that of an input: one value for each element.

    ``names`` and ``count`` are those of its elements, None while only the device knows them; ``has_names``:
    whether it has any.
    """
    if isinstance(values, tuple) and count is not None and len(values) != count:
        expected = f"{count}, one for each element of the input, or one number for all"
        yield Problem(here, expected, f"a list of {len(values)}")
    elif isinstance(values, Mapping) and not has_names:
        expected = "a number, a list, or `names` of the elements of the input"
        yield Problem(here, expected, "values by name", at_key=True)
    elif isinstance(values, Mapping) and names is not None:
        yield from name_rules(here, values, names, of="the input")
