"""Errors, their places, and what the command line ends with."""

from __future__ import annotations

import contextlib
import gc
import re
import weakref
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
    StoppedError,
    do_each,
    raise_all,
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


def test_errors_are_told_as_one() -> None:
    class LatchedTwiceError(LinkError):
        def __init__(self, what: str, times: int) -> None:
            super().__init__(what)
            self.times = times

    raise_all([])
    latched = LatchedTwiceError("SAFE", 2)
    with pytest.raises(LatchedTwiceError) as one:
        raise_all([latched])
    assert one.value is latched
    with pytest.raises(LinkError, match="SAFE\ngone") as two:
        raise_all([latched, LinkError("gone")])
    assert two.value.findings == (Finding("SAFE"), Finding("gone"))
    with pytest.raises(ConfigError):
        raise_all([latched, ConfigError("x")])


def test_what_an_error_of_several_steps_refers_to_goes_with_it() -> None:
    """A port that could not be armed is closed when the error is handled, not when garbage is collected."""

    class Line:
        pass

    def fail() -> None:
        line = Line()
        lines.append(weakref.ref(line))
        raise LinkError("no")

    lines: list[weakref.ref[Line]] = []
    gc.disable()
    try:
        for steps in ([fail], [fail, fail]):
            with contextlib.suppress(LinkError):
                do_each(steps)
    finally:
        gc.enable()
    assert [line() for line in lines] == [None] * 3


def test_a_stop_ends_the_steps_at_once() -> None:
    def stop() -> None:
        raise StoppedError("stopped")

    taken: list[int] = []
    with pytest.raises(StoppedError):
        do_each([stop, lambda: taken.append(1)])
    assert taken == []
