"""Models of exploy: the whole environment is in the graph, and tensors have names that say what they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from rtloop.errors import ConfigError
from rtloop.policy.importing.training import Commanded, Observed, Told, Training
from rtloop.policy.metadata import RATE, json_in, number_in, told_in

_PREFIXES = ("obj.", "sensor.", "cmd.", "ctx.", "memory.")
_TARGETS = re.compile(r"(output\.joint_targets\.[^.]+)\.(pos|vel|effort)")
_QUANTITIES = {"pos": "position", "vel": "velocity", "effort": "effort"}
_STEP = "ctx.step_count"


def is_exploy(inputs: Iterable[str]) -> bool:
    """Whether all inputs of a model have such names."""
    names = list(inputs)
    return bool(names) and all(name.startswith(_PREFIXES) for name in names)


def read(
    metadata: Mapping[str, str], inputs: Mapping[str, int], outputs: Mapping[str, int], file: str
) -> Training:
    """``inputs`` and ``outputs``: names and sizes of those of the model that are no state.

    Raises ConfigError.
    """

    def of(tensor: str) -> dict[str, Any]:
        above = tensor.rpartition(".")[0]
        return _json(metadata, tensor if metadata.get(tensor) else above, file)

    observed = {}
    for name, size in inputs.items():
        if name == _STEP:
            continue
        where = f"{file}: input {name}"
        picked = _names(of(name).get("joint_names"), size, where)
        observed[name] = (Observed(f"exploy:{name}", where, size=size, joints=picked),)
    actions = []
    for name, size in outputs.items():
        if (match := _TARGETS.fullmatch(name)) is None:
            continue
        quantity = _QUANTITIES[match[2]]
        where = f"{file}: output {name}"
        picked = _names(of(name).get("names"), size, where)
        actions.append(Commanded(quantity, where, joints=picked, size=size, output=name))
    joints = tuple(dict.fromkeys(name for action in actions for name in action.joints or ()))
    observed_joints = next((terms[0].joints for terms in observed.values() if terms[0].joints), ())
    joints = observed_joints if set(observed_joints) >= set(joints) else joints
    return Training(
        period_s=_period(metadata, file),
        joints=Told(joints, f"{file}: metadata of its joints") if joints else None,
        observations=observed,
        actions=tuple(actions),
        counters={_STEP: 0} if _STEP in inputs else {},
        gains=_gains(actions, of),
    )


def _period(metadata: Mapping[str, str], file: str) -> Told[Fraction] | None:
    rate = told_in(metadata, RATE[0], number_in, "a number of Hz above 0", file)
    where = f"{file}: metadata {RATE[0]}"
    return None if rate is None else Told(1 / Fraction(repr(rate)), where)


def _names(value: Any, size: int, where: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"{where}: found the names {str(value)[:60]}; expected a list of texts")
    if len(value) != size:
        raise ConfigError(f"{where}: found {len(value)} names; expected {size}, one for each value")
    return tuple(value)


def _gains(actions: list[Commanded], of: Any) -> dict[str, Told[tuple[float, ...]]]:
    for action in actions:
        found = of(action.output)
        if isinstance(found.get("stiffness"), list) and isinstance(found.get("damping"), list):
            where = action.where.rpartition(".")[0]
            return {key: Told(tuple(found[key]), where) for key in ("stiffness", "damping")}
    return {}


def _json(metadata: Mapping[str, str], key: str, file: str) -> dict[str, Any]:
    text = metadata.get(key, "")
    value = json_in(text) if text.strip() else {}
    if not isinstance(value, dict):
        raise ConfigError(
            f"{file}: metadata {key}: found {text[:60]!r}; expected a mapping, as JSON"
        )
    return value
