"""Configurations made in Python: the same rules, with the names of arguments in place of lines."""

from __future__ import annotations

import copy
import math
import os
import pickle
import shutil
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtloop.config import (
    Config,
    LimitConfig,
    LinkConfig,
    LoopConfig,
    PolicyConfig,
    RecordingConfig,
    load,
    loads,
)
from rtloop.config.config import PYTHON
from rtloop.errors import ConfigError, Place
from rtloop.policy.terms.action import ActionTerm
from rtloop.policy.terms.inputs import InputTerm
from rtloop.ports.mailbox import MailboxInput, MailboxOutput
from tests.kinds import filled

from .example import EXAMPLE, loaded

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _in_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


LOOP_KEYS = ", ".join(field.alias or name for name, field in LoopConfig.model_fields.items())


def loop(**keys: Any) -> dict[str, Any]:
    """The arguments of a loop that breaks no rule, some of them others; None leaves one out."""
    said = {
        "loop_class": "firm",
        "rate_hz": 1000,
        "inputs": {"pole": {"mailbox": [0, 0], "max_age_ms": 5}},
        "policy": {"model": "policy.onnx", "observation": [{"input": "pole"}]},
        "outputs": {"force": {"mailbox": True, "size": 1, "min": -10, "max": 10, "safe": 0}},
    }
    return {key: value for key, value in (said | keys).items() if value is not None}


def made(**keys: Any) -> Config:
    return Config(loops={"balance": loop(**keys)})


def complaints(**keys: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        made(**keys)
    return str(caught.value).split("\n")


# --- what is taken ---


def test_it_is_what_the_same_yaml_would_be(folder: Path) -> None:
    config = made()
    text = yaml.safe_dump({"loops": {"balance": loop()}}).replace("loop_class:", "class:")
    assert config == loads(text, str(folder / "loop.yaml"))
    assert config.path == PYTHON
    assert config.loops["balance"].loop_class == "firm"
    assert config.loops["balance"].policy.model == folder / "policy.onnx"


def test_sections_mappings_arrays_tuples_and_paths_say_the_same(folder: Path) -> None:
    class Class(str, Enum):
        FIRM = "firm"

    by_sections = Config(
        loops={
            "balance": LoopConfig(
                loop_class="firm",
                rate_hz=1000,
                inputs={"pole": MailboxInput(mailbox=(0, 0), max_age_ms=5)},
                policy=PolicyConfig(
                    model=folder / "policy.onnx", observation=(InputTerm(input="pole"),)
                ),
                outputs={"force": MailboxOutput(mailbox=True, size=1, min=-10, max=10, safe=0)},
            )
        }
    )
    by_arrays = made(
        loop_class=Class.FIRM,
        rate_hz=np.float64(1000),
        inputs={"pole": {"mailbox": np.zeros(2, np.float32), "max_age_ms": np.array(5)}},
        policy={"model": Path("policy.onnx"), "observation": ({"input": "pole"},)},
        outputs={"force": MailboxOutput(mailbox=True, size=1, min=-10, max=10, safe=0)},
    )
    by_key = Config(loops={"balance": {"class": "firm", **loop(loop_class=None)}})
    assert by_sections == by_arrays == by_key == made()
    assert by_sections != made(rate_hz=500)


def test_a_section_of_a_file_serves_in_python(folder: Path) -> None:
    config = loaded(EXAMPLE, folder)
    again = Config(links=config.links, recording=config.recording, loops=config.loops)
    assert again == config


def test_one_section_of_a_policy_serves_several_loops() -> None:
    policy = PolicyConfig(model=Path("policy.onnx"), observation=(InputTerm(input="pole"),))
    config = Config(loops={"a": loop(policy=policy), "b": loop(policy=policy)})
    assert config.loops["a"].policy == config.loops["b"].policy
    assert config.loops["a"].policy is not config.loops["b"].policy, "each is bound to its loop"


def test_a_model_is_relative_to_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = made(policy={"model": "policy.onnx", "observation": [{"input": "pole"}]})
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert config.loops["balance"].policy.model == folder / "policy.onnx"
    assert loads(config.to_yaml()) == config
    assert complaints()[0].startswith("loops[\"balance\"].policy.model: found 'policy.onnx';")


# --- what is wrong ---


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"rate_herz": 3},
            f".rate_herz: found an unknown key; expected one of {LOOP_KEYS}; nearest known key 'rate_hz'",
        ),
        (
            {"rate_hz": "fast"},
            ".rate_hz: found 'fast'; expected a number (releases per second)",
        ),
        (
            {"loop_class": "frim"},
            ".loop_class: found 'frim'; expected hard, firm or soft (what a deadline miss means); "
            "nearest 'firm'",
        ),
        (
            {"class": "hard"},
            ".loop_class: found 'firm', and 'hard' as 'class'; expected one of them: they are one key",
        ),
        (
            {"policy": None},
            ".policy: found nothing; expected this required key (the ONNX policy between inputs and "
            "outputs), or `policies` with a `switch` between them",
        ),
        (
            {"loop_class": None},
            ".loop_class: found nothing; expected this required key: hard, firm or soft (what a deadline "
            "miss means)",
        ),
        (
            {"deadline_ms": 2},
            ".deadline_ms: found 2; expected at most the period, 1 ms",
        ),
        (
            {"inputs": {"pole": {"mailbox": [0, 0], "max_age_ms": -1}}},
            '.inputs["pole"].max_age_ms: found -1; expected at least 0.001 (an older sample is stale; '
            "null is never)",
        ),
        (
            {"inputs": {"pole": {"max_age_ms": 5}}},
            '.inputs["pole"]: found <none of inputs>; expected <one of inputs>',
        ),
        (
            {"inputs": {"pole": {"mailbox": [0, 0], "link": "cart"}}},
            '.inputs["pole"]: found both link and mailbox; expected <one of inputs>',
        ),
        (
            {"inputs": {"pole": {"link": "cart"}}},
            '.inputs["pole"].link: found \'cart\'; expected the name of one under \'links\', and there '
            "is none",
        ),
        (
            {"inputs": {"pole": {"mailbox": np.zeros((2, 2))}}},
            '.inputs["pole"].mailbox: found an array of shape (2, 2); expected an array of 1 dimension',
        ),
        (
            {"inputs": {"pole": {"mailbox": [0, math.nan]}}},
            '.inputs["pole"].mailbox[1]: found nan; expected a finite number (initial values, one for '
            "each element)",
        ),
        (
            {"inputs": {"pole": {"mailbox": np.array([math.inf, 0])}}},
            '.inputs["pole"].mailbox[0]: found inf; expected a finite number (initial values, one for '
            "each element)",
        ),
        (
            {"inputs": {"pole": {"mailbox": {0.5, 1.5}}}},
            '.inputs["pole"].mailbox: found an object of class set; expected a list (initial values, one '
            "for each element)",
        ),
        (
            {"inputs": {"pole": MailboxOutput(mailbox=True, safe=(0, 0))}},
            '.inputs["pole"]: found a section MailboxOutput; expected a section InputSection',
        ),
        (
            {"inputs": {"the pole": {"mailbox": [0, 0]}, "pole": {"mailbox": [0, 0]}}},
            '.inputs["the pole"]: found the name \'the pole\'; expected a name of lower-case letters, '
            "digits and '_', beginning with a letter, 32 at most; nearest 'the_pole'",
        ),
        (
            {"inputs": {"pole": {"mailbox": [0, 0]}, 2: {"mailbox": [0, 0]}}},
            ".inputs: found the key 2; expected names as keys, in quotes",
        ),
        (
            {"policy": {"model": "polcy.onnx", "observation": [{"input": "pole"}]}},
            ".policy.model: found 'polcy.onnx'; expected a file in 'FOLDER', which holds policy.onnx; "
            "nearest 'policy.onnx'",
        ),
        (
            {"policy": {"model": b"\x08\x07", "observation": [{"input": "pole"}]}},
            ".policy.model: found an object of class bytes; expected the path of a file (ONNX file, "
            "relative to the working directory)",
        ),
        (
            {"policy": {"model": "policy\n.onnx", "observation": [{"input": "pole"}]}},
            ".policy.model: found 'policy\\n.onnx'; expected text on one line, without control characters",
        ),
        (
            {"policy": {"model": "policy.onnx", "observation": [{"input": "poel"}]}},
            ".policy.observation[0].input: found 'poel'; expected the name of an input: pole; nearest "
            "'pole'",
        ),
        (
            {"limit": {"max_misses": 5, "window": 5}},
            ".limit.max_misses: found 5; expected fewer than the window of 5 cycles, or no limit at all",
        ),
        (
            {"outputs": {"force": MailboxOutput(mailbox=True, safe=(0.0,), min=1.0)}},
            '.outputs["force"].safe[0]: found 0.0; expected at least min, 1',
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_told_by_the_name_of_its_argument(
    keys: dict[str, Any], message: str, folder: Path
) -> None:
    (found,) = complaints(**keys)
    assert found.replace(str(folder), "FOLDER") == 'loops["balance"]' + filled(message)


def test_all_mistakes_are_told_in_the_order_of_the_arguments() -> None:
    lines = complaints(
        deadline_ms="soon",
        realtime={"cpu_affinity": [0, 0]},
        inputs={"pole": {"mailbox": [0, 0], "max_age_ms": 0}},
        rate_hz=0,
    )
    assert [line.split(": ")[0].removeprefix('loops["balance"].') for line in lines] == [
        "rate_hz",
        'inputs["pole"].max_age_ms',
        "deadline_ms",
        "realtime.cpu_affinity[1]",
    ]


def test_what_is_wrong_at_the_top_is_told_so() -> None:
    wrong: dict[str, Any] = {"lops": {}}
    with pytest.raises(ConfigError) as caught:
        Config(**wrong)
    assert str(caught.value) == (
        "lops: found an unknown key; expected one of links, recording, loops; nearest known key 'loops'"
    )
    with pytest.raises(ConfigError, match="^loops: found an empty mapping; expected at least 1"):
        Config(loops={})


def test_a_section_alone_tells_its_name_and_argument() -> None:
    wrong: dict[str, Any] = {"rate_hz": -1, "loop_class": "firm", "polcy": None}
    with pytest.raises(ConfigError) as caught:
        LoopConfig(**wrong)
    places = [line.split(": found ")[0] for line in str(caught.value).split("\n")]
    assert places == ["LoopConfig.rate_hz", "LoopConfig.polcy"], "what is mistyped is not missing"
    with pytest.raises(ConfigError, match=r"^ActionTerm.clip\[1\]: found 'b'; expected a number"):
        ActionTerm(clip=(0.0, "b"))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"^LimitConfig.max_misses: found nothing; expected this"):
        LimitConfig()  # type: ignore[call-arg]


def test_what_contains_itself_ends() -> None:
    circle: dict[str, Any] = {}
    circle["policy"] = circle
    with pytest.raises(ConfigError, match="found more than 32 levels of nesting; expected the few"):
        made(policy=circle)
    with pytest.raises(ConfigError, match="found more than 20000 values; expected the few values"):
        made(inputs={"pole": {"mailbox": np.zeros(30_000)}})


def test_the_place_of_a_value_is_the_name_of_its_argument() -> None:
    config = made()
    keys = ("loops", "balance", "inputs", "pole", "mailbox", 0)
    assert config.where(*keys) == Place(key='loops["balance"].inputs["pole"].mailbox[0]')
    assert str(config.where()) == "Config"


# --- other values ---


def test_a_configuration_is_varied_key_by_key(folder: Path) -> None:
    config = made()
    other = config.replace(
        loops={"balance": {"rate_hz": 500, "loop_class": "soft", "policy": {"every": 2}}},
        recording=RecordingConfig(enabled=False),
    )
    balance = other.loops["balance"]
    assert (balance.rate_hz, balance.loop_class, balance.policy.every) == (500, "soft", 2)
    assert balance.inputs == config.loops["balance"].inputs
    assert not other.recording.enabled
    assert config == made(), "the first one is as it was"
    assert other.replace(recording={"enabled": True}).recording.enabled

    link = LinkConfig(device="/dev/ttyACM0", command_timeout_ms=20)
    of_file = loaded(EXAMPLE, folder).replace(links={"cart": link})
    assert of_file.links == {"cart": link}, "a section takes the place of the whole"
    assert loads(of_file.source_text) == of_file


def test_what_was_varied_is_judged_again() -> None:
    with pytest.raises(ConfigError) as caught:
        made(deadline_ms=0.5).replace(loops={"balance": {"rate_hz": 4000}})
    assert str(caught.value) == (
        'loops["balance"].deadline_ms: found 0.5; expected at most the period, 0.25 ms'
    )


def test_what_was_judged_cannot_be_changed_behind_the_rules(folder: Path) -> None:
    config = Config(loops={"balance": loop()})
    balance = config.loops["balance"]
    changes: list[Callable[[], Any]] = [
        lambda: config.loops.update(other=balance),
        lambda: config.loops.__setitem__("other", balance),
        lambda: balance.inputs.pop("pole"),
        lambda: balance.inputs.clear(),
        lambda: balance.model_copy(update={"loop_class": "hard"}),
        lambda: config.model_copy(update={"loops": {}}),
    ]
    for change in changes:
        with pytest.raises(TypeError, match=r"expected Config\.replace"):
            change()
    assert config == config.model_copy() == copy.deepcopy(config) == loads(config.to_yaml())
    assert pickle.loads(pickle.dumps(config)) == config


def test_it_shows_itself_in_one_line(folder: Path) -> None:
    assert repr(made()) == "<Config balance: firm, 1000 Hz>"
    assert (
        str(loaded(EXAMPLE, folder)) == "<Config balance: firm, 1000 Hz; link cart: /dev/ttyACM0>"
    )


# --- YAML and back ---

OF_OTHERS = {ROOT / "examples/ros2_control/controllers.yaml"}
FILES = [
    *sorted({*ROOT.glob("examples/**/*.yaml")} - OF_OTHERS),
    *ROOT.glob("rtloop/demos/*/*.yaml"),
    *(ROOT / "tests").glob("*/*.yaml"),
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_configuration_of_the_repository_is_written_and_read_back(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in ("policy.onnx", "encoder.onnx", "overload.onnx"):
        (tmp_path / model).touch()
    if path.parent.parent != ROOT / "rtloop" / "demos" and path.parent != ROOT / "examples":
        path = Path(shutil.copy(path, tmp_path))
    config = load(path)
    monkeypatch.chdir("/")
    again = loads(config.to_yaml())
    assert again == config
    assert again.model_dump() == config.model_dump()
    assert Config(**{name: getattr(config, name) for name in Config.model_fields}) == config


TRICKY = [
    "on",
    "null",
    "1e3",
    "010",
    "1:30",
    "~",
    "- a",
    "a: b",
    "#",
    "'",
    '"',
    "<<",
    "ü",
    "é\ufeff",
    "*a",
]
TEXTS = st.sampled_from(TRICKY) | st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="*{}"),
    min_size=1,
    max_size=20,
)
NUMBERS = st.floats(-3e38, 3e38) | st.integers(-(10**9), 10**9) | st.floats(-10, 10, width=32)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True)


@st.composite
def configurations(draw: st.DrawFn, models: list[str]) -> dict[str, Any]:
    def vector(size: int) -> Any:
        values = draw(st.lists(NUMBERS, min_size=size, max_size=size))
        return draw(st.sampled_from([values, tuple(values), np.array(values, np.float32)]))

    loops = {}
    for name in draw(st.lists(NAMES, min_size=1, max_size=3, unique=True)):
        inputs = {}
        for key in draw(st.lists(NAMES.filter(lambda n: n != "default_joint_pos"), max_size=3)):
            names = draw(st.lists(TEXTS, min_size=1, max_size=4, unique=True))
            inputs[key] = {"mailbox": vector(len(names)), "names": names}
            inputs[key] |= draw(st.sampled_from([{}, {"max_age_ms": 7.5, "on_stale": "fault"}]))
        observation: list[Any] = [{"previous_action": True, "clip": [-1, 1]}]
        observation += [{"input": key, "select": list(inputs[key]["names"])} for key in inputs]
        out = draw(
            st.lists(TEXTS.filter(lambda t: "*" not in t), min_size=1, max_size=4, unique=True)
        )
        by_name = {"*": draw(NUMBERS), **{element: draw(NUMBERS) for element in out[1:]}}
        policy: dict[str, Any] = {"model": draw(st.sampled_from(models))}
        policy |= draw(st.sampled_from([{"observation": observation}, {"observations": None}]))
        if "observations" in policy:
            policy["observations"] = {draw(TEXTS): observation}
        loops[name] = {
            "loop_class": draw(st.sampled_from(["firm", "soft"])),
            "period_ms": draw(st.floats(1, 10_000)),
            "inputs": inputs,
            "policy": policy,
            "outputs": {"o": {"mailbox": True, "names": out, "safe": by_name}},
        }
    recording = {"directory": draw(TEXTS.filter(lambda t: not t.startswith("~"))), "split_mb": None}
    return {"loops": loops, "recording": recording}


@given(data=st.data())
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_configuration_is_written_and_read_back(data: st.DataObject, folder: Path) -> None:
    models = ["policy.onnx", "1e3", "on", "a: #b.onnx"]
    for name in models:
        (folder / name).touch()
    config = Config(**data.draw(configurations(models)))
    os.chdir("/")
    try:
        again = loads(config.to_yaml())
        assert again == config
        assert again.model_dump() == config.model_dump()
        assert config.source_text == again.to_yaml()
    finally:
        os.chdir(folder)
