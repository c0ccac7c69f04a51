"""Files that were edited by hand, or by no friend: each becomes a loop, or is refused with a ConfigError."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rtloop.config import load
from rtloop.errors import ConfigError
from rtloop.policy.importing import draft
from rtloop.policy.leapp import read_bundle
from tests.policy.importing.loops import linear
from tests.policy.importing.test_isaaclab import ACTIONS, TERMS, descriptors
from tests.policy.importing.test_isaaclab import SIZE as ISAAC_SIZE
from tests.policy.importing.test_unitree import DEPLOY
from tests.policy.importing.test_unitree import SIZE as DEPLOY_SIZE
from tests.policy.leapp.chain import PREV, chain

TRIES = 150
DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
JUNK: list[Any] = [
    None, True, 0, -1, 7, 1.5, float("nan"), float("inf"), "", "x", "a/b", [], [1], ["a"], [[1, 2]], [[]],
    [None], {}, {"a": 1}, {"x": {"scale": 1}}, {1: 2}, {None: 3}, 10**400, 1e300, "a\nb: c", "on", "x" * 100,
    [0, 0], [1, 0], [-1, 0, 1], [0.0, 0.0], [[0.0, 0.0]] * 2, [1.0, float("nan")],
]  # fmt: skip


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if at:
        yield at
    if isinstance(value, dict):
        for key in value:
            yield from _places(value[key], (*at, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _places(item, (*at, index))


def _damaged(value: Any, chance: random.Random) -> Any:
    value = copy.deepcopy(value)
    for _ in range(chance.randint(1, 3)):
        *path, last = chance.choice(list(_places(value)))
        holder = value
        for key in path:
            holder = holder[key]
        if isinstance(holder, dict) and chance.random() < 0.2:
            del holder[last]
        else:
            holder[last] = copy.deepcopy(chance.choice(JUNK))
    return value


def _read(path: Path, kind: str) -> None:
    if kind == "bundle":
        read_bundle(path)
        return
    loop = path.with_name("loop.yaml")
    loop.write_text(draft(path.with_name("policy.onnx"), path, path.parent).text)
    try:
        load(loop)
    except ConfigError as error:
        pytest.fail(f"what init wrote is refused: {error}")


@pytest.mark.parametrize("kind", ["unitree", "isaaclab", "bundle"])
def test_nothing_but_a_config_error_comes_of_damage(kind: str, tmp_path: Path) -> None:
    if kind == "unitree":
        data = yaml.safe_load(
            DEPLOY.replace("!!python/object/apply:builtins.slice [0, 2, null]", "[0, 1]")
        )
        (tmp_path / "policy.onnx").write_bytes(linear(DEPLOY_SIZE, 2)[0])
    elif kind == "isaaclab":
        data = descriptors(TERMS, ACTIONS)
        (tmp_path / "policy.onnx").write_bytes(linear(ISAAC_SIZE, 4)[0])
    else:
        maker = chain(tmp_path)
        maker.initial(PREV)
        data = maker.data
    path = tmp_path / "damaged.yaml"
    refused = 0
    for seed in range(TRIES):
        path.write_text(yaml.dump(_damaged(data, random.Random(seed)), Dumper=DUMPER))
        try:
            _read(path, kind)
        except ConfigError:
            refused += 1
    assert TRIES / 10 < refused < TRIES, "the damage is either too small to see or all too plain"
