"""What terms mean, in numpy and float64, read from the mapping that a file would hold: no code of rtloop's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Terms = Sequence[Mapping[str, Any]]


def rotation_of(roll: float, pitch: float, yaw: float) -> Floats:
    """About x, then y, then z of the world."""
    about_x = np.array(
        [[1, 0, 0], [0, np.cos(roll), -np.sin(roll)], [0, np.sin(roll), np.cos(roll)]]
    )
    about_y = np.array(
        [[np.cos(pitch), 0, np.sin(pitch)], [0, 1, 0], [-np.sin(pitch), 0, np.cos(pitch)]]
    )
    about_z = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def matrix_of(values: Floats, order: str) -> Floats:
    """R, from the body to the world."""
    if order == "rpy":
        return rotation_of(*values)
    w, x, y, z = (values / np.linalg.norm(values))[[order.index(name) for name in "wxyz"]]
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + 2 * w * skew + 2 * skew @ skew)


class Reference:
    """A list of terms, step by step. ``names`` are those of the elements of inputs that have some."""

    def __init__(
        self,
        terms: Terms,
        groups: Mapping[str, Terms],
        names: Mapping[str, Sequence[str]],
        joints: Sequence[str],
        pose: Sequence[float],
        period_s: Fraction,
    ) -> None:
        self._terms, self._groups, self._names = terms, groups, names
        self._joints = list(joints)
        self._pose = dict(zip(joints, pose, strict=True))
        self._period_s = period_s
        self._past: dict[int, list[Floats]] = {}
        self._phase_steps: dict[str, int] = {}
        self._first_yaw: dict[str, Floats] = {}
        self._samples: dict[str, Floats] = {}
        self.outputs: dict[str, Floats] = {}

    def reset(self) -> None:
        self._past.clear()
        self._phase_steps.clear()
        self._first_yaw.clear()

    def step(
        self, samples: Mapping[str, npt.ArrayLike], last_action: Floats, last_target: Floats
    ) -> Floats:
        self.begin(samples, last_action, last_target)
        values = self.joined(self._terms)
        self.end()
        return values

    def begin(
        self, samples: Mapping[str, npt.ArrayLike], last_action: Floats, last_target: Floats
    ) -> None:
        """A step, in which several lists may be read; ``outputs`` are what models answered last."""
        self._samples = {name: np.asarray(value, np.float64) for name, value in samples.items()}
        self._last_action, self._last_target = last_action, last_target
        self._groups_now: dict[str, Floats] = {}
        self._advanced: dict[str, int] = {}

    def end(self) -> None:
        self._phase_steps |= self._advanced

    def joined(self, terms: Terms) -> Floats:
        return np.concatenate([self._values(term) for term in terms])

    def _vector(self, name: str) -> Floats:
        if name in self._samples:
            return self._samples[name]
        if name not in self._groups_now:
            self._groups_now[name] = self.joined(self._groups[name])
        return self._groups_now[name]

    def _values(self, term: Mapping[str, Any]) -> Floats:
        value, names = self._source(term), list(self._names.get(term.get("input", ""), ()))
        if "projected_gravity" in term or "rotated" in term:
            names = ["x", "y", "z"]
        if "select" in term:
            picked = [names.index(e) if isinstance(e, str) else e for e in term["select"]]
            value, names = value[picked], [names[i] for i in picked] if names else names
        elif "joints" in term:
            joints = self._joints if term["joints"] == "policy" else term["joints"]
            pattern = term.get("named", "{}")
            value = value[[names.index(pattern.replace("{}", joint)) for joint in joints]]
            names = list(joints)
        value = value - self._numbers(term.get("minus", 0.0), names)
        if "wrap" in term:
            low, high = term["wrap"]
            value = (value - low) % (high - low) + low
        value = value * np.asarray(term.get("scale", 1.0))
        value = value + self._numbers(term.get("offset", 0.0), names)
        if "clip" in term:
            value = np.clip(value, *map(np.asarray, term["clip"]))
        return self._with_history(term, value) if "history" in term else value

    def _numbers(self, values: Any, names: list[str]) -> Floats:
        if values == "default_joint_pos":
            return np.array([self._pose[name] for name in names])
        if not isinstance(values, str):
            return np.asarray(values, np.float64)
        there = list(self._names.get(values, ()))
        if set(names) & set(there):
            return self._vector(values)[[there.index(name) for name in names]]
        return self._vector(values)

    def _with_history(self, term: Mapping[str, Any], value: Floats) -> Floats:
        history = term["history"]
        if isinstance(history, int):
            history = {"steps": list(range(history))[::-1]}
        past = self._past.setdefault(id(term), [])
        past.append(value)
        missing = value * 0 if history.get("start", "first") == "zero" else past[0]
        seen = [past[-1 - n] if n < len(past) else missing for n in history["steps"]]
        grid = np.array(seen)
        return np.asarray((grid.T if history.get("interleave") else grid).reshape(-1))

    # --- sources ---

    def _source(self, term: Mapping[str, Any]) -> Floats:
        if "input" in term or "group" in term:
            return self._vector(term.get("input") or term["group"])
        if "output" in term:
            return self.outputs[term["output"]]
        if "constant" in term:
            return np.asarray(term["constant"], np.float64)
        if "last_action" in term or "previous_action" in term:
            return self._last_action
        if "last_target" in term:
            return self._last_target
        if "phase" in term:
            return self._phase(term)
        if "projected_gravity" in term:
            return np.asarray(self._matrix(term, "projected_gravity").T @ [0, 0, -1.0])
        if "euler_xyz" in term:
            r = self._matrix(term, "euler_xyz")
            return np.array(
                [
                    np.arctan2(r[2, 1], r[2, 2]),
                    np.arcsin(np.clip(-r[2, 0], -1, 1)),
                    np.arctan2(r[1, 0], r[0, 0]),
                ]
            )
        if "rotated" in term:
            vector = self._vector(term["rotated"])
            if "mount" in term:
                return np.asarray(rotation_of(*term["mount"]) @ vector)
            return np.asarray(self._matrix(term, "into").T @ vector)
        rotation = self._aligned(term, "rotation")
        if "relative_to" in term:
            other = self._aligned({k: v for k, v in term.items() if k != "mount"}, "relative_to")
            is_of_world = term.get("expressed_in") == "world"
            rotation = rotation @ other.T if is_of_world else other.T @ rotation
        return rotation[:, :2].reshape(-1) if term.get("show") == "6d" else rotation.reshape(-1)

    def _aligned(self, term: Mapping[str, Any], key: str) -> Floats:
        matrix = self._matrix(term, key)
        if not term.get("align_yaw"):
            return matrix
        of = repr((term[key], term.get("order"), term.get("mount")))
        yaw = self._first_yaw.setdefault(of, np.arctan2(matrix[1, 0], matrix[0, 0]))
        return np.asarray(rotation_of(0, 0, -float(yaw)) @ matrix)

    def _matrix(self, term: Mapping[str, Any], key: str) -> Floats:
        matrix = matrix_of(self._vector(term[key]), term.get("order", "wxyz"))
        return np.asarray(matrix @ rotation_of(*term["mount"]).T) if "mount" in term else matrix

    def _phase(self, term: Mapping[str, Any]) -> Floats:
        phase = term["phase"]
        key = repr(phase)
        step = self._phase_steps.get(key, phase.get("first_step", 0))
        self._advanced[key] = step + 1
        turn_s = (
            Fraction(repr(phase["period_s"]))
            if "period_s" in phase
            else 1 / Fraction(repr(phase["frequency_hz"]))
        )
        offsets = [Fraction(repr(offset)) for offset in phase.get("offsets", [0.0])]
        turns = [float((step * self._period_s / turn_s + offset) % 1) for offset in offsets]
        if hold := phase.get("hold"):
            command = self._vector(hold["command"])
            parts = hold.get("each") or [list(range(len(command)))]
            if all(np.linalg.norm(command[list(part)]) < hold["below"] for part in parts):
                turns = [hold.get("at", 0.5) % 1] * len(turns)
                if hold.get("restart"):
                    self._advanced[key] = 0
        show = {"sin": np.sin, "cos": np.cos}
        return np.concatenate(
            [
                show[name](2 * np.pi * np.array(turns)) if name in show else np.array(turns)
                for name in term.get("show", ["sin", "cos"])
            ]
        )
