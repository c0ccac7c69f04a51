"""Actions with any of their keys at once, against a reference that is one loop in numpy."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.policy.models import linear
from tests.policy.test_actions import PERIOD_S, POSE, Plant, Row, of_actions, weights

Wide = npt.NDArray[np.float64]


class Reference:
    """What an action does, as docs/actions.md tells it: one number at a time."""

    def __init__(self, action: Mapping[str, Any], weight: Row, safe: Row) -> None:
        self.action, self.weight = action, weight
        self.left: Wide = safe.astype(np.float64)
        self.n_applied = 0
        self.last: Wide = np.zeros(weight.shape[1])
        self.average: Wide = self.last
        self.begin: Wide = self.last
        self.next: tuple[Wide, Wide, Wide, Wide] | None = None

    def step(self, seen: Row, position: Row, velocity: Row) -> Row:
        q, v = position.astype(np.float64), velocity.astype(np.float64)
        action, n = self.action, self.n_applied
        start = action.get("start")
        n_ramp = 0 if start is None else ceil(Fraction(repr(start["ramp_s"])) / PERIOD_S)
        value = np.concatenate([seen, self.last]) @ self.weight.astype(np.float64)
        value = value * (n >= n_ramp)
        average = self.average
        if "smooth" in action:
            value = average = action["smooth"] * value + (1 - action["smooth"]) * self.average
        if "fade_in_s" in action:
            n_fade = ceil(Fraction(repr(action["fade_in_s"])) / PERIOD_S)
            value = value * np.clip((n + 1 - n_ramp) / n_fade, 0, 1)
        scale = np.array(action["scale"])
        if action.get("relative"):
            first = q if "from" in action else np.array(POSE)
            base = self.left if n or start else first
        else:
            base = np.array(action["offset"])
        wanted = value * scale + base + (v if "plus" in action else 0)
        begin = self.begin if n else q
        if start is not None and n < n_ramp:
            gone = (n + 1) / n_ramp
            of_zero = POSE if action.get("relative") else wanted
            wanted = begin * (1 - gone) + np.array(start.get("to", of_zero)) * gone
        target = np.clip(wanted, *action["clip"]) if "clip" in action else wanted
        taken = value
        if "torque_limit" in action:
            limit = action["torque_limit"]
            kp, kd, most = (limit[key] for key in ("stiffness", "damping", "limit"))
            target = np.clip(target, q + (kd * v - most) / kp, q + (kd * v + most) / kp)
            if limit.get("last_action") != "unlimited" and n >= n_ramp:
                taken = value + (target - wanted) / scale
        self.next = (taken, average, begin, target)
        return np.asarray(target, np.float32)

    def applied(self) -> None:
        assert self.next is not None
        self.last, self.average, self.begin, self.left = self.next
        self.n_applied += 1


@st.composite
def actions(draw: st.DrawFn) -> dict[str, Any]:
    numbers = st.floats(-1, 1, width=16)
    action: dict[str, Any] = {
        "scale": draw(st.lists(st.sampled_from([-1.0, 0.25, 0.5]), min_size=3, max_size=3))
    }
    relative = draw(st.booleans())
    if relative:
        action["relative"] = True
    else:
        action["offset"] = draw(st.lists(numbers, min_size=3, max_size=3))
    if draw(st.booleans()):
        action["start"] = {"ramp_s": draw(st.sampled_from([0.01, 0.05, 0.1])), "from": "q"}
        if draw(st.booleans()):
            action["start"]["to"] = draw(st.lists(numbers, min_size=3, max_size=3))
    elif relative and draw(st.booleans()):
        action["from"] = "q"
    if draw(st.booleans()):
        action["smooth"] = draw(st.sampled_from([0.25, 0.8, 1.0]))
    if draw(st.booleans()):
        action["fade_in_s"] = draw(st.sampled_from([0.02, 0.07, 0.2]))
    if draw(st.booleans()):
        action["plus"] = "v"
    if draw(st.booleans()):
        action["clip"] = [draw(st.floats(-2, -0.5, width=16)), draw(st.floats(0.5, 2, width=16))]
    if draw(st.booleans()):
        limit = {"stiffness": 20.0, "damping": 0.5, "limit": 8.0, "position": "q", "velocity": "v"}
        action["torque_limit"] = limit
        if draw(st.booleans()):
            limit["last_action"] = "unlimited"
    return action


@settings(max_examples=60, deadline=None)
@given(action=actions(), seed=st.integers(0, 1000))
def test_whatever_an_action_has_it_does_in_its_order(action: dict[str, Any], seed: int) -> None:
    weight = weights(2, 3, seed)
    graph = of_actions(linear(weight), {"seen": 2, "q": 3, "v": 3}, action, default_joint_pos=POSE)
    safe = np.array([4.0, -4.0, 0.5], np.float32)
    plant = Plant(graph, safe.tolist(), seed)
    for _ in range(2):
        reference = Reference(action, weight, safe)
        for _ in range(15):
            samples = plant.normal(2), plant.normal(3, 0.5), plant.normal(3)
            expected = reference.step(*samples)
            command, applied = plant.step(*samples)
            np.testing.assert_allclose(command, expected, rtol=2e-4, atol=2e-4)
            if applied:
                reference.applied()
        plant.reset()
