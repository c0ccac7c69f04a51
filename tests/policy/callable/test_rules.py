"""What may stand beside a Python function, and in which loop: by place, found and expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtloop.cli.check import check
from rtloop.config import load
from rtloop.errors import ConfigError
from rtloop.judge import judge
from tests.policy.callable.files import loop_file, module
from tests.policy.models import passthrough


@pytest.fixture
def function(tmp_path: Path) -> str:
    return f"python: {module(tmp_path, 'def act(seen): return seen[:1]')}:act"


def problems(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        judge(load(path), record=False).refuse()
    return [str(finding) for finding in caught.value.findings]


def test_a_hard_loop_is_refused_with_the_reason(tmp_path: Path, function: str) -> None:
    path = loop_file(tmp_path, function, loop_class="hard")
    (told,) = (line for line in problems(path) if "policy.python" in line)
    assert told.startswith(f"{path}:8:15: loops.pole.policy.python: found ")
    assert "the interpreter (the GIL), which any other Python thread may keep for 5 ms" in told
    error = check(path).error
    assert error is not None
    assert told in str(error), "rtloop check says it, too"


@pytest.mark.parametrize(
    ("key", "at", "told"),
    [
        ("state: {a: b}", "policy.state", "no state beside `python`"),
        ("constants: {a: 1}", "policy.constants", "no constants beside `python`"),
        ("counters: {a: 1}", "policy.counters", "no counters beside `python`"),
        ("fix_dimensions: {a: 1}", "policy.fix_dimensions", "no fix_dimensions beside `python`"),
        ("action_output: y", "policy.action_output", "no action_output beside `python`"),
        ("backend: aot", "policy.backend", "export the function as a model to compile it"),
        ("model: p.onnx", "policy", "exactly one of `model`, `models`, `leapp` and `python`"),
    ],
)
def test_what_only_a_model_has_is_refused(
    tmp_path: Path, function: str, key: str, at: str, told: str
) -> None:
    (tmp_path / "p.onnx").write_bytes(passthrough(2))
    found = problems(loop_file(tmp_path, f"{function}\n      {key}"))
    assert any(f"loops.pole.{at}: " in line and told in line for line in found), found


def test_where_nothing_says_how_many_values_it_answers_action_size_is_asked_for(
    tmp_path: Path, function: str
) -> None:
    path = loop_file(tmp_path, function)
    text = "links: {bot: {device: /dev/ttyACM0}}\n" + path.read_text().replace(
        "push: {mailbox: true, names: [force], safe: 0.0}", "push: {link: bot, safe: 0.0}"
    )
    path.write_text(text)
    (told,) = problems(path)
    assert "policy.python: " in told
    assert "expected `action_size` beside it, how many values it answers" in told
    path.write_text(text.replace("      observation", "      action_size: 1\n      observation"))
    judge(load(path), record=False).refuse()


def test_the_name_of_its_source_is_taken(tmp_path: Path, function: str) -> None:
    path = loop_file(tmp_path, function)
    text = path.read_text().replace("{angle: {", "{answer: {")
    path.write_text(text.replace("input: angle", "input: answer"))
    (told,) = problems(path)
    assert "loops.pole.inputs.answer: " in told
    assert "another name: this one is that of what the Python function answers" in told


def test_a_name_without_a_colon_is_refused_with_an_example(tmp_path: Path) -> None:
    (told,) = problems(loop_file(tmp_path, "python: control"))
    assert "expected MODULE:NAME of a Python function or class, for example control:act" in told


def test_action_size_beside_a_model_is_compared_with_it(tmp_path: Path) -> None:
    (tmp_path / "p.onnx").write_bytes(passthrough(2))
    text = "model: p.onnx\n      action_size: 3"
    (told,) = problems(loop_file(tmp_path, text))
    assert "loops.pole.policy.action_size: found 3; expected 2, the size of" in told
