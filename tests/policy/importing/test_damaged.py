"""Files that were edited by hand, or by no friend: each is read, or refused with a ConfigError."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rtloop.errors import ConfigError
from rtloop.policy.exported_file import read_yaml
from rtloop.policy.importing import isaaclab, unitree
from rtloop.policy.leapp import read_bundle
from tests.policy.importing.test_isaaclab import ACTIONS, TERMS, descriptors
from tests.policy.importing.test_unitree import DEPLOY
from tests.policy.leapp.test_bundles import PREV, chain

TRIES = 150
DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
JUNK: list[Any] = [
    None, True, 0, -1, 7, 1.5, float("nan"), float("inf"), "", "x", "a/b", [], [1], ["a"], [[1, 2]], [[]],
    [None], {}, {"a": 1}, {"x": {"scale": 1}}, {1: 2}, {None: 3},
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
    file = read_yaml(path)
    if kind == "unitree" and unitree.is_unitree(file):
        unitree.read(file, None, None)
    elif kind == "isaaclab" and isaaclab.is_isaaclab(file):
        isaaclab.read(file)


@pytest.mark.parametrize("kind", ["unitree", "isaaclab", "bundle"])
def test_nothing_but_a_config_error_comes_of_damage(kind: str, tmp_path: Path) -> None:
    if kind == "unitree":
        data = yaml.safe_load(DEPLOY.replace("!!python/object/apply:builtins.slice ", ""))
    elif kind == "isaaclab":
        data = descriptors(TERMS, ACTIONS)
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
