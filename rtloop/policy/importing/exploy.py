"""Models of exploy: the whole environment is in the graph, and tensors have names that say what they are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from rtloop.policy.importing.training import Commanded, Observed, Told, Training

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
    """``inputs`` and ``outputs``: names and sizes of those of the model that are no state."""

    def of(tensor: str) -> dict[str, Any]:
        return _json(metadata.get(tensor) or metadata.get(tensor.rpartition(".")[0]))

    observed = {}
    for name, size in inputs.items():
        if name == _STEP:
            continue
        joints = of(name).get("joint_names")
        picked = tuple(joints) if isinstance(joints, list) and len(joints) == size else None
        where = f"{file}: input {name}"
        observed[name] = (Observed(f"exploy:{name}", where, size=size, joints=picked),)
    actions = []
    for name, size in outputs.items():
        if (match := _TARGETS.fullmatch(name)) is None:
            continue
        names = of(name).get("names")
        picked = tuple(names) if isinstance(names, list) and len(names) == size else None
        quantity = _QUANTITIES[match[2]]
        where = f"{file}: output {name}"
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
    try:
        rate = float(metadata.get("update_rate", ""))
        return Told(1 / Fraction(repr(rate)), f"{file}: metadata update_rate")
    except (ValueError, ZeroDivisionError):
        return None


def _gains(actions: list[Commanded], of: Any) -> dict[str, Told[tuple[float, ...]]]:
    for action in actions:
        found = of(action.output)
        if isinstance(found.get("stiffness"), list) and isinstance(found.get("damping"), list):
            where = action.where.rpartition(".")[0]
            return {key: Told(tuple(found[key]), where) for key in ("stiffness", "damping")}
    return {}


def _json(text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text or "")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
