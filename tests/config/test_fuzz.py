"""Whatever the bytes, the answer is a Config or a ConfigError, and it comes soon."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtloop.config import Config, load, loads
from rtloop.config import document as document_module
from rtloop.errors import ConfigError
from rtloop.policy.terms.inputs import InputTerm
from tests.running import POLICY

from .example import EXAMPLE

LOADERS = [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)]
LONGEST_S = 10.0
"""Far above the few milliseconds it takes: only a hang or a blow-up is slower."""

TREE = yaml.safe_load(EXAMPLE)
BOUNDED = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(params=LOADERS, ids=["python", "libyaml"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_module, "LOADER", request.param)


def keys_of(tree: Any) -> set[str]:
    if isinstance(tree, dict):
        return set(tree) | {k for value in tree.values() for k in keys_of(value)}
    return {k for value in tree for k in keys_of(value)} if isinstance(tree, list) else set()


WORDS = [*sorted(keys_of(TREE)), "period_ms", "previous_action", "size", "on", "<<", "hard", "soft"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 3),
    st.floats(),
    st.sampled_from([10**400, -(10**30), 1e39, "policy.onnx", "", ".", "\0", "1:30", "0x", "1e3"]),
    st.sampled_from(WORDS),
    st.text(max_size=8),
    st.dates(),
    st.binary(max_size=4),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=4), inner, max_size=5),
    ),
    max_leaves=20,
)


def judge(read: Callable[[], Config], name: str) -> None:
    """Read once; a Config must be usable, a ConfigError presentable, and either quick."""
    started = time.monotonic()
    message = ""
    try:
        config = read()
    except ConfigError as error:
        message = str(error)
    else:
        assert all(loop.period_ns >= loop.deadline_ns > 0 for loop in config.loops.values())
        return
    assert time.monotonic() - started < LONGEST_S
    for line in message.split("\n"):
        assert line.isprintable()
        assert line.startswith(name)
        assert ": found " in line or line.endswith("more problems")
        assert len(line) < 2000


def judge_text(text: str, name: str = "fuzz.yaml") -> None:
    judge(lambda: loads(text, name), name)


def dumped(tree: Any) -> str:
    try:
        return yaml.safe_dump(tree, allow_unicode=True)
    except (yaml.YAMLError, ValueError):  # a lone surrogate, an int of 5000 digits
        return repr(tree)


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of every value in the tree."""
    found = [path]
    if isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            found += places(value, (*path, key))
    return found


def replaced(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = tree.copy()
    copy[path[0]] = replaced(tree[path[0]], path[1:], value)
    return copy


def removed(tree: Any, path: tuple[Any, ...]) -> Any:
    copy = tree.copy()
    if len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = removed(tree[path[0]], path[1:])
    return copy


def renamed(tree: Any, path: tuple[Any, ...], name: str) -> Any:
    if len(path) > 1:
        return replaced(tree, path[:1], renamed(tree[path[0]], path[1:], name))
    if isinstance(tree, list):
        return [*tree, tree[int(path[0])]]
    return {(name if key == path[0] else key): value for key, value in tree.items()}


@pytest.mark.usefixtures("loader")
@given(st.text(max_size=200))
@BOUNDED
def test_any_text_is_a_config_or_a_config_error(text: str) -> None:
    judge_text(text)


@pytest.mark.usefixtures("loader")
@given(st.text("{}[]:,-?&*!|>'\"%@`#<\t\n ab01.~=_x", max_size=120))
@BOUNDED
def test_any_yaml_punctuation_is_a_config_or_a_config_error(text: str) -> None:
    judge_text(text)


@pytest.mark.usefixtures("loader")
@given(TREES)
@BOUNDED
def test_any_tree_is_a_config_or_a_config_error(tree: Any) -> None:
    judge_text(dumped(tree))


@pytest.mark.usefixtures("loader")
@given(st.data())
@BOUNDED
def test_any_changed_tree_is_a_config_or_a_config_error(data: st.DataObject) -> None:
    tree = TREE
    for _ in range(data.draw(st.integers(1, 4))):
        path = data.draw(st.sampled_from(places(tree)))
        action = data.draw(st.sampled_from(["replace", "remove", "rename"]))
        if action == "replace" or not path:
            tree = replaced(tree, path, data.draw(SCALARS | TREES))
        elif action == "remove":
            tree = removed(tree, path)
        else:
            tree = renamed(tree, path, data.draw(st.sampled_from(WORDS) | st.text(max_size=5)))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "policy.onnx").touch()
        judge_text(dumped(tree), f"{folder}/fuzz.yaml")


@pytest.mark.usefixtures("loader")
@given(st.data())
@BOUNDED
def test_any_changed_bytes_are_a_config_or_a_config_error(data: st.DataObject) -> None:
    content = bytearray(EXAMPLE.encode())
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(content)))
        length = data.draw(st.integers(0, 12))
        piece = data.draw(
            st.binary(max_size=6)
            | st.sampled_from(
                [b"\t", b"\n", b": ", b"- ", b"&a ", b"*a", b"<<: *a", b"!!int ", b"{"]
            )
        )
        content[start : start + length] = piece
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "policy.onnx").touch()
        path = Path(folder, "fuzz.yaml")
        path.write_bytes(content)
        judge(lambda: load(path), str(path))


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(
    "text",
    [
        "a: " * 50_000,
        "- " * 50_000,
        "? " * 50_000,
        "{" * 200_000,
        "[a, " * 50_000,
        "'" * 200_000,
        "&a " * 50_000,
        "a\n" * 100_000,
        "a: b\n" * 40_000,
        "".join(f"k{i}: 1\n" for i in range(20_000)),
        "!" * 200_000,
        "%YAML 1." + "9" * 5000 + "\n---\n",
        '"\\UFFFFFFFF"',
        '"\\ud800"',
        "- *a\n- &a b",
        "? {a: 1}\n: 2",
        "!!timestamp x",
        "!!int x",
        "!!float x",
        "!!bool x",
        "!!null x",
        "!!binary x",
        "!!map x",
        "!!str {}",
        "{!!int x: 1}",
        "loops: !!omap [a: 1]",
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_known_hard_texts_are_refused_in_time(text: str) -> None:
    with pytest.raises(ConfigError):
        loads(text)
    judge_text(text)


# --- from Python ---

ARRAYS = st.sampled_from(
    [
        np.zeros(0),
        np.zeros((2, 3)),
        np.array([1, None, "a", [2]], object),
        np.array(3.5),
        np.array("2026-01-01", "datetime64[D]"),
        np.float32(math.nan),
        np.str_("policy.onnx"),
        np.ones(3, bool),
    ]
)
OBJECTS = ARRAYS | st.sampled_from(
    [object(), print, 10**5000, {1, 2}, range(3), Path("policy.onnx"), InputTerm(input="cart")]
)
COMPLETE = replaced(TREE, ("loops", "balance", "policy", "model"), str(POLICY))
KEYS = st.sampled_from(WORDS) | st.text(max_size=4) | st.integers(0, 2) | st.none()
GIVEN = TREES | OBJECTS | st.dictionaries(KEYS, TREES | OBJECTS, max_size=4)


@given(st.sampled_from(places(TREE)[1:]), GIVEN)
@BOUNDED
def test_whatever_a_program_gives_is_a_config_or_a_config_error(
    path: tuple[Any, ...], value: Any
) -> None:
    try:
        config = Config(**replaced(COMPLETE, path, value))
    except ConfigError as error:
        for line in str(error).split("\n"):
            assert line.isprintable()
            assert ": found " in line or line.endswith("more problems")
            assert len(line) < 2000
    else:
        assert loads(config.to_yaml()) == config
