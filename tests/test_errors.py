"""Errors, their places, and what the command line ends with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rtloop.cli.arguments import parser
from rtloop.errors import (
    EXIT_CODES,
    ConfigError,
    Finding,
    LinkError,
    Place,
    RtloopError,
)

COMMANDS = Path(__file__).parents[1] / "docs" / "commands.md"


def kinds(base: type[RtloopError]) -> set[type[RtloopError]]:
    return {base}.union(*(kinds(kind) for kind in base.__subclasses__()))


def test_every_error_ends_with_a_code_of_the_table() -> None:
    codes = {kind.exit_code for kind in kinds(RtloopError) if kind.__module__.startswith("rtloop")}
    assert codes | {0} == set(EXIT_CODES)
    assert LinkError.exit_code == 1
    assert "device" in EXIT_CODES[1]


def test_help_and_documentation_have_the_table_of_the_code() -> None:
    told = " ".join(parser().format_help().split())
    documented = re.findall(r"^\| (\d+) \| (.*) \|$", COMMANDS.read_text(encoding="utf-8"), re.M)
    assert {int(code): meaning for code, meaning in documented} == EXIT_CODES
    for code, meaning in EXIT_CODES.items():
        assert f"{code} {meaning}" in told


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Place(), ""),
        (Place("a.yaml"), "a.yaml"),
        (Place("a.yaml", 3, 7), "a.yaml:3:7"),
        (Place("a.yaml", 3, 7, "loops.a"), "a.yaml:3:7: loops.a"),
        (Place(key="observation[0]"), "observation[0]"),
    ],
)
def test_a_place_is_written_as_editors_read_it(place: Place, text: str) -> None:
    assert str(place) == text
    assert bool(place) == bool(text)


def test_an_error_is_given_a_place_where_it_has_none() -> None:
    known, given = Place("a.yaml", 1, 1, "loops"), Place("a.yaml", 2, 2, "links")
    error = ConfigError([Finding.of(known, "x", "y", "'z'"), Finding("no device answered")]).at(
        given
    )
    assert str(error) == (
        "a.yaml:1:1: loops: found x; expected y; nearest 'z'\na.yaml:2:2: links: no device answered"
    )
    assert error.as_dict()["exit_code"] == 2
    assert [problem["line"] for problem in error.as_dict()["problems"]] == [1, 2]
    assert [problem["found"] for problem in error.as_dict()["problems"]] == ["x", None]
