"""Inputs that read another loop: what is told of them, and what is refused, by place."""

from __future__ import annotations

from math import gcd
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtloop.config import Config
from rtloop.errors import ConfigError
from rtloop.opening import close, open_ports
from rtloop.ports.loop import LoopInput, age_at_release_ns
from tests.config.example import complaints, loaded, small

WALK = "rate_hz: 50, deadline_ms: 15, output: at_deadline"
READS = "rate_hz: 1000, inputs: {x: {loop: a, max_age_ms: 45}}"


@pytest.fixture(autouse=True)
def policy(folder: Path) -> None:
    assert (folder / "policy.onnx").exists()


def test_its_elements_are_those_of_the_output_that_it_reads(folder: Path) -> None:
    text = small(WALK, READS).replace("safe: [0]", "names: [hip, knee], safe: 0", 1)
    config = loaded(text, folder)
    source = config.loops["b"].inputs["x"]
    assert source.read_output == ("a", "o")
    assert (source.element_names, source.element_count) == (("hip", "knee"), 2)
    assert (source.named, source.identity, source.first_sample) == (False, None, "loop")
    assert config.readers("a", "o") == [config.loops["b"]]
    assert config.readers("b", "o") == []


def test_of_a_device_only_the_device_knows_them(folder: Path) -> None:
    text = small(WALK, READS).replace("mailbox: true, safe: [0]", "link: board, safe: 0", 1)
    text = "links: {board: {device: /dev/ttyACM0, command_timeout_ms: 100}}\n" + text
    source = loaded(text, folder).loops["b"].inputs["x"]
    assert source.named
    assert (source.element_names, source.element_count) == (None, None)


def test_what_it_reads_makes_no_section_another_one(folder: Path) -> None:
    # Each is told of all loops, and so of itself: that is nothing to compare, or to write.
    one, other = (loaded(small(WALK, READS), folder) for _ in range(2))
    assert one.loops == other.loops
    assert one.loops["b"].inputs["x"] == LoopInput(loop="a", max_age_ms=45)
    again = Config.model_validate(one.model_dump(by_alias=True), context={"folder": str(folder)})
    assert again.loops == one.loops
    assert again.loops["b"].inputs["x"].read_output == ("a", "o")


SLIP = "skip or catch_up: loop 'b' reads loop 'a' at its deadlines, and slip moves them against each other"


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        (
            WALK,
            READS.replace("loop: a", "loop: wolk"),
            ["loops.b.inputs.x.loop: found 'wolk'; expected the name of a loop: a"],
        ),
        (
            WALK,
            READS.replace("loop: a", "loop: b"),
            [
                "loops.b.inputs.x.loop: found 'b'; expected another loop; what a loop has commanded itself "
                "its policy observes with the terms `last_target` and `previous_action`"
            ],
        ),
        (
            WALK,
            READS.replace("loop: a", "loop: a, output: p"),
            ["loops.b.inputs.x.output: found 'p'; expected the name of an output: o"],
        ),
        (
            WALK,
            READS.replace(", max_age_ms: 45", ""),
            [
                "loops.b.inputs.x: found no max_age_ms; expected a max_age_ms: a loop that ends or faults "
                "leaves its safe command and sends no more, which only the age of its last one tells"
            ],
        ),
        (
            WALK,
            READS.replace("45", "19.005"),
            [
                "loops.b.inputs.x.max_age_ms: found 19.005; expected at least 19.1: 19 ms old the commands of "
                "loop 'a' become before the next one counts, every 20 ms, though none is late, and the age "
                "counts when 'b' has woken up, for which there is a tenth of its period (0.1 ms)"
            ],
        ),
        (
            "rate_hz: 50",
            READS.replace("45", "20"),
            [
                "loops.b.inputs.x.max_age_ms: found 20; expected at least 20.1: 20 ms old the commands of "
                "loop 'a' become before the next one counts, every 20 ms, though none is late, and the age "
                "counts when 'b' has woken up, for which there is a tenth of its period (0.1 ms)"
            ],
        ),
        (
            f"{WALK}, on_overrun: slip",
            READS,
            [f"loops.a.on_overrun: found 'slip'; expected {SLIP}"],
        ),
        (
            WALK,
            f"{READS}, on_overrun: slip",
            [f"loops.b.on_overrun: found 'slip'; expected {SLIP}"],
        ),
        (
            WALK,
            READS.replace("loop: a", "loop: a, names: [hip]"),
            [
                "loops.b.inputs.x.names: found an unknown key; expected one of loop, max_age_ms, on_stale"
            ],
        ),
        # Wrong on its own: what would follow from it is not told.
        (
            WALK.replace("15", "25"),
            READS.replace("45", "19"),
            ["loops.a.deadline_ms: found 25; expected at most the period, 20 ms"],
        ),
    ],
)
def test_what_is_wrong_is_refused_where_it_stands(
    a: str, b: str, told: list[str], folder: Path
) -> None:
    lines = [line.split(": ", 1)[1] for line in complaints(small(a, b), folder)]
    assert len(lines) == len(told), lines
    for line, start in zip(lines, told, strict=True):
        assert line.startswith(start)


FAST = "rate_hz: 20000, deadline_ms: 0.04, output: at_deadline"
SLOW = "rate_hz: 0.1, inputs: {x: {loop: a, max_age_ms: 20000}}"


def wide(text: str) -> str:
    return text.replace("safe: [0]", "size: 1024, safe: 0", 1)


def test_what_memory_cannot_keep_for_a_slow_reader_is_refused(folder: Path) -> None:
    (line,) = complaints(wide(small(FAST, SLOW)), folder)
    assert (
        "loops.b.inputs.x.loop: found 'a', of which 200003 commands of 1024 values would be kept"
        in line
    )
    assert "(793 MiB); expected at most 64 MiB of them" in line
    assert loaded(small(FAST, SLOW), folder).loops.keys() == {"a", "b"}


def test_a_device_that_has_more_values_than_can_be_kept_is_refused_as_it_is_opened(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = loaded(small(FAST, SLOW), folder)
    monkeypatch.setattr("rtloop.ports.kept.KEPT_BYTES_MAX", 1 << 20)
    with pytest.raises(
        ConfigError, match="loops.a.outputs.o: found an output of which 200003 comm"
    ):
        open_ports(config, ["a"])


def test_of_a_loop_without_a_time_for_its_commands_only_the_newest_are_kept(folder: Path) -> None:
    config = loaded(wide(small(FAST.replace("at_deadline", "asap"), SLOW)), folder)
    before = psutil.Process().memory_info().rss
    close(open_ports(config, ["a"])["a"].ports)
    assert psutil.Process().memory_info().rss - before < 200 << 20


def test_of_several_outputs_one_is_named(folder: Path) -> None:
    text = small(WALK, READS).replace(
        "safe: [0]}}", "safe: [0]}, p: {mailbox: true, size: 1, safe: 0}}", 1
    )
    (line,) = complaints(text, folder)
    assert line.endswith(
        "loops.b.inputs.x.loop: found 'a', which has several outputs; expected `output` beside it: o or p"
    )
    config = loaded(text.replace("loop: a", "loop: a, output: p"), folder)
    assert config.loops["b"].inputs["x"].read_output == ("a", "p")


def test_the_nearest_output_is_told(folder: Path) -> None:
    text = small(WALK, READS.replace("loop: a", "loop: a, output: target"))
    (line,) = complaints(text.replace("outputs: {o:", "outputs: {targets:", 1), folder)
    assert line.endswith("expected the name of an output: targets; nearest 'targets'")


class _Grid:
    def __init__(self, period_ns: int, deadline_ns: int, output: str = "at_deadline") -> None:
        self.period_ns, self.deadline_ns, self.output = period_ns, deadline_ns, output


@given(reads=st.integers(1, 60), writes=st.integers(1, 60), data=st.data())
def test_the_age_at_a_release_is_the_greatest_on_the_two_grids(
    reads: int, writes: int, data: st.DataObject
) -> None:
    deadline = data.draw(st.integers(1, writes))
    releases = [reads * k for k in range(2 * writes // gcd(reads, writes) + 60)]
    counts = [writes * k + deadline for k in range(-1, releases[-1] // writes + 1)]
    ages = [r - max(c for c in counts if c <= r) for r in releases if r >= writes]
    grid, other = _Grid(reads, reads), _Grid(writes, deadline)
    assert age_at_release_ns(grid, other) == max(ages)  # type: ignore[arg-type]
