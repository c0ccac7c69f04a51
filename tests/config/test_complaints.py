"""Every rule, with the complete message that breaking it gets.

The cases are in complaints_*.txt: a sentence, what to change in example.yaml, and the message.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import Field, Strict

from rtloop.config.section import Section
from rtloop.ports.port import INPUTS, InputSection, Port
from tests.kinds import filled

from .example import EXAMPLE, complaints, loaded


def cases(name: str) -> list[Any]:
    """``=== sentence``, hunks of ``-`` and ``+`` lines apart by ``@@``, lines to be ``filled``."""
    text = Path(__file__).with_name(f"complaints_{name}.txt").read_text(encoding="utf-8")
    found = []
    for block in text.split("\n=== ")[1:]:
        sentence, *lines = block.rstrip("\n").split("\n")
        marked = [line for line in lines if line[:1] in "+-@"]
        message = lines[len(marked) :]
        hunks = [hunk.split("\n") for hunk in "\n".join(marked).split("\n@@\n")]
        found.append(pytest.param(hunks, message, id=sentence))
    return found


def applied(hunks: list[list[str]]) -> str:
    text = EXAMPLE
    for hunk in hunks:
        old = "".join(f"\n{line[1:]}" for line in hunk if line[0] == "-") + "\n"
        new = "".join(f"\n{line[1:]}" for line in hunk if line[0] == "+") + "\n"
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in the example"
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(("hunks", "message"), cases("values"))
def test_a_wrong_value_is_shown_with_its_place_and_cure(
    hunks: list[list[str]], message: list[str], folder: Path
) -> None:
    assert complaints(applied(hunks), folder) == [filled(line) for line in message]


@pytest.mark.parametrize(("hunks", "message"), cases("rules"))
def test_a_broken_rule_is_shown_with_its_place_and_cure(
    hunks: list[list[str]], message: list[str], folder: Path
) -> None:
    assert complaints(applied(hunks), folder) == [filled(line) for line in message]


@pytest.mark.skipif(not hasattr(yaml, "CSafeLoader"), reason="these are messages of libyaml")
@pytest.mark.parametrize(("hunks", "message"), cases("yaml"))
def test_a_trap_of_yaml_is_shown_with_its_place_and_cure(
    hunks: list[list[str]], message: list[str], folder: Path
) -> None:
    assert complaints(applied(hunks), folder) == [filled(line) for line in message]


def test_a_tab_is_explained(folder: Path) -> None:
    text = EXAMPLE.replace("    class: firm", "\tclass: firm")
    assert complaints(text, folder) == [
        "loops.yaml:13:1: top level: found a tab in 'class: firm'; expected spaces: YAML does not "
        "indent with tabs"
    ]


def test_a_control_character_is_named(folder: Path) -> None:
    assert complaints(EXAMPLE.replace("class: firm", "class: \x07firm"), folder) == [
        "loops.yaml:13:12: top level: found the character U+0007; expected printable text; is this "
        "a YAML file, saved as UTF-8?"
    ]


def test_a_loop_that_says_nothing_is_asked_for_what_is_required(folder: Path) -> None:
    assert complaints("loops:\n  stop: {}\n", folder) == [
        "loops.yaml:2:3: loops.stop: found neither rate_hz nor period_ms; expected exactly one of "
        "the two, for example rate_hz: 1000",
        "loops.yaml:2:3: loops.stop.class: found nothing; expected this required key: hard, firm "
        "or soft (what a deadline miss means)",
        "loops.yaml:2:3: loops.stop.policy: found nothing; expected this required key (the ONNX "
        "policy between inputs and outputs), or `policies` with a `switch` between them",
    ]


def test_a_wrong_class_hides_no_other_problem_of_its_loop(folder: Path) -> None:
    text = EXAMPLE.replace("class: firm", "class: hart").replace("ms: 1.0", "ms: 2.0")
    text = text.replace("model: policy.onnx", "modell: policy.onnx").replace("safe: [0.0], ", "")
    text = text.replace("clip: [-5, 5]", "clip: [5, -5]").replace("max_misses: 50, ", "")
    assert [line.split(": ")[1] for line in complaints(text, folder)] == [
        "loops.balance.class",
        "loops.balance.deadline_ms",
        "loops.balance.limit.max_misses",
        "loops.balance.policy.modell",
        "loops.balance.policy.observation[0].clip",
        "loops.balance.outputs.cart.safe",
    ]


def test_a_hard_loop_may_say_that_it_allows_no_miss(folder: Path) -> None:
    text = EXAMPLE.replace("class: firm", "class: hard").replace("    on_miss: hold\n", "")
    limit = "    limit: {max_misses: 50, window: 1000, max_consecutive: 10, on_broken: fault}\n"
    config = loaded(text.replace(limit, "    limit: {max_misses: 0}\n"), folder)
    assert config.loops["balance"].limit is not None
    assert config.loops["balance"].limit.max_misses == 0


def test_an_unreadable_model_is_shown_with_the_command_that_helps(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert complaints(EXAMPLE, folder) == [
        "loops.yaml:26:14: loops.balance.policy.model: found 'FOLDER/policy.onnx', not readable; "
        "expected read permission: chmod u+r FOLDER/policy.onnx"
    ]


def test_a_folder_without_any_model_is_said_to_have_none(folder: Path) -> None:
    (folder / "policy.onnx").unlink()
    assert complaints(EXAMPLE, folder) == [
        "loops.yaml:26:14: loops.balance.policy.model: found 'policy.onnx'; expected a file in "
        "'FOLDER', which holds no .onnx file"
    ]


def test_all_problems_are_reported_together_in_the_order_of_the_file(folder: Path) -> None:
    text = """\
links: {a: {device: d, baud: fast}, b: {device: d}, c: {device: e}}
recording: {enabld: true}
loops:
  x:
    class: soft
    rate_hertz: 30
    on_miss: hold
    inputs: {i: {link: a}, k: {mailbox: [1, 2]}}
    policy:
      model: policy.onnx
      observation:
        - {input: i, scale: true, clip: [3, 2]}
        - {input: q}
    outputs: {p: {mailbox: true, safe: 0}}
  y:
    class: soft
    rate_hz: 30
    deadline_ms: 40
    outputs: {o: {link: c, safe: 0}}
"""
    places = [line.split(": ")[:2] for line in complaints(text, folder)]
    assert places == [
        ["loops.yaml:1:30", "links.a.baud"],
        ["loops.yaml:1:49", "links.b.device"],
        ["loops.yaml:1:53", "links.c.command_timeout_ms"],
        ["loops.yaml:2:13", "recording.enabld"],
        ["loops.yaml:6:5", "loops.x.rate_hertz"],
        ["loops.yaml:7:14", "loops.x.on_miss"],
        ["loops.yaml:12:29", "loops.x.policy.observation[0].scale"],
        ["loops.yaml:12:41", "loops.x.policy.observation[0].clip"],
        ["loops.yaml:13:19", "loops.x.policy.observation[1].input"],
        ["loops.yaml:14:15", "loops.x.outputs.p"],
        ["loops.yaml:15:3", "loops.y.policy"],
        ["loops.yaml:18:18", "loops.y.deadline_ms"],
    ]


def test_a_rule_that_rests_on_a_wrong_value_is_withheld(folder: Path) -> None:
    # "neither rate_hz nor period_ms" and "deadline beyond the period" would only be noise here.
    text = EXAMPLE.replace("rate_hz: 1000", "rate_hz: fast").replace("ms: 1.0", "ms: 2.0")
    assert [line.split(": ")[1] for line in complaints(text, folder)] == ["loops.balance.rate_hz"]


def test_a_mistyped_key_is_not_reported_as_missing_too(folder: Path) -> None:
    text = EXAMPLE.replace("rate_hz: 1000", "rate: 1000").replace("class: firm", "clas: firm")
    assert [line.split(": ")[1] for line in complaints(text, folder)] == [
        "loops.balance.clas",
        "loops.balance.rate",
    ]


def test_a_thousand_problems_are_cut_to_a_readable_message(folder: Path) -> None:
    lines = complaints("".join(f"k{i}: 1\n" for i in range(1000)), folder)
    assert len(lines) == 101
    assert lines[-1] == "loops.yaml: and 901 more problems"


# --- keys of a kind that rtloop does not have ---


class Sub(Section):
    a: int = Field(default=1, ge=0, description="a")


class RichInput(InputSection):
    """An input with keys of every sort."""

    kind = "rich"

    rich: int = Field(description="rich")
    sub: Sub = Field(default=Sub(), description="a section")
    three: tuple[float, float, float] | None = Field(
        default=None, strict=False, description="position"
    )
    pair: Annotated[tuple[int, str], Strict(False)] = Field(default=(0, ""), description="pair")
    either: int | str = Field(default=0, description="number or name")

    @property
    def element_count(self) -> int:
        return 1

    @property
    def element_limit(self) -> int:
        return 1

    def open(self, name: str, loop: object, around: object) -> Port:
        raise NotImplementedError


@pytest.fixture
def rich() -> Iterator[None]:
    INPUTS.register(RichInput)
    yield
    INPUTS.unregister("rich")


@pytest.mark.usefixtures("rich")
@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (
            "three: [1, 2]",
            "@: {}.three: found a list of 2; expected a list of 3 numbers (position)",
        ),
        (
            "three: [1, 2, 3, 4]",
            "@: {}.three: found a list of 4; expected a list of 3 numbers (position)",
        ),
        ("pair: [1]", "@: {}.pair: found a list of 1; expected a list of 2 values (pair)"),
        (
            "either: 2.5",
            "@: {}.either: found 2.5; expected a whole number or text (number or name)",
        ),
        (
            "either: [1]",
            "@: {}.either: found a list of 1; expected a whole number or text (number or name)",
        ),
        ("sub: {a: -1}", "@: {}.sub.a: found -1; expected at least 0 (a)"),
    ],
)
def test_any_sort_of_key_is_complained_of_in_words(keys: str, told: str, folder: Path) -> None:
    text = EXAMPLE.replace("target: {mailbox: [0.0]}", f"target: {{rich: 1, {keys}}}")
    (line,) = complaints(text, folder)
    place = "loops.balance.inputs.target"
    assert line.partition(": ")[2] == told.partition(": ")[2].format(place)


def test_no_complaint_speaks_pydantic_of_a_number_that_is_not_finite(folder: Path) -> None:
    text = EXAMPLE.replace("safe: [0.0]", "safe: .inf")
    (line,) = complaints(text, folder)
    assert "outputs.cart.safe: found .inf; expected a finite number (the safe command" in line


@pytest.mark.parametrize("first", ["5", "{scale: 2}", "{input: cart, target: 1}", "{input: none}"])
def test_a_wrong_term_does_not_hide_what_is_wrong_with_others(first: str, folder: Path) -> None:
    text = f"""\
loops:
  a:
    class: soft
    rate_hz: 100
    inputs: {{i: {{mailbox: [0, 0]}}}}
    policy:
      model: policy.onnx
      observation: [{first}, {{input: nope, clip: [3, 2]}}, {{input: i, scale: [1, 2, 3]}}]
    outputs: {{o: {{mailbox: true, safe: [0]}}}}
"""
    told = [
        line.split(": ")[1].removeprefix("loops.a.policy.observation")
        for line in complaints(text, folder)
    ]
    assert told[0].startswith("[0]")
    assert [key for key in told if key[:3] != "[0]"] == ["[1].input", "[1].clip", "[2].scale"]
