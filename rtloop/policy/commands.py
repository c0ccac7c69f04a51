"""Commands that numbers of the file contradict: what a start leads to, and what limits leave of a command."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING

from rtloop.config.problem import Keys, number
from rtloop.config.values import per_element
from rtloop.policy.policy import Policy
from rtloop.policy.probes import Probed
from rtloop.policy.shaping import named_values
from rtloop.policy.terms.action import ActionTerm, Sink, placed
from rtloop.policy.terms.elements import Scope, Vector
from rtloop.policy.terms.start import cycles_in
from rtloop.ports.command import numbers
from rtloop.ports.port import OutputSection
from rtloop.ports.signal import Signal

if TYPE_CHECKING:
    from rtloop.config.sections import LoopConfig


@dataclass(frozen=True)
class _Commanded:
    """One element of an action, and of the output that it goes to."""

    keys: Keys
    """Of the action, in the section of the policy."""
    action: ActionTerm
    joint: str
    """By what it is found in a measured vector; empty where order decides."""
    name: str
    """Of the element of the output."""
    output: str
    clip: tuple[float, float]
    limits: tuple[float, float]
    """``min`` and ``max`` of the output, where it takes targets."""
    safe: float
    """NaN where it is held."""
    max_rate_per_s: float
    end: float | None
    """Where a start leads it to; None without one, or where no number of the file says it."""

    @property
    def start_at(self) -> Keys:
        told = self.action.start is not None and self.action.start.to is not None
        return ("policy", *self.keys, "start", *(["to"] if told else []))


def contradictions(
    loop: LoopConfig,
    policy: Policy,
    inputs: Mapping[str, Sequence[Signal]],
    outputs: Mapping[str, Sequence[Signal]],
    sinks: Mapping[str, Sink],
) -> Iterator[Probed]:
    """Everything that looks wrong, of a loop between these elements; of many that look alike the first."""
    vectors = {key: Vector(len(s), tuple(x.name for x in s)) for key, s in inputs.items()}
    command = [Vector(sink.size, sink.names) for sink in sinks.values()]
    scope = replace(loop.policy.scope(vectors, (), policy, command), period_s=loop.policy_period_s)
    for keys, action in loop.policy.action_terms.items():
        start = action.start
        if start is not None and cycles_in(start.ramp_s, loop.period_s) == 1:
            found = f"{number(start.ramp_s)} s, which is one cycle: the whole way in one step"
            expected = "as long as the machine may take from any pose to that of the policy"
            yield Probed(("policy", *keys, "start", "ramp_s"), found, expected)
    told: set[Keys] = set()
    for element in _commanded(loop, policy, scope, outputs, sinks):
        found_here = [
            *_never_within(element),
            *_leap_from_safe(element),
            *_cut_end(element),
            *_terminated_end(loop, scope, element),
        ]
        for probed in found_here:
            if probed.keys not in told:
                yield probed
            told.add(probed.keys)


def _never_within(element: _Commanded) -> Iterator[Probed]:
    (low, high), (least, most) = element.clip, element.limits
    if low <= most and high >= least:
        return
    bound, value = ("max", most) if low > most else ("min", least)
    found = (
        f"[{number(low)}, {number(high)}] for '{element.name}', all of which {bound} of output "
        f"'{element.output}' makes {number(value)}"
    )
    yield Probed(("policy", *element.keys, "clip"), found, "a range that shares values with it")


def _leap_from_safe(element: _Commanded) -> Iterator[Probed]:
    start = element.action.start
    if start is None or math.isnan(element.safe) or math.isinf(element.max_rate_per_s):
        return
    found = (
        f"a first command of '{element.name}' that is one step from safe, {number(element.safe)}, and not "
        "from where `start` measures it"
    )
    expected = f"safe: {{hold: {start.measured}}}, from which the first step is counted then"
    yield Probed(("outputs", element.output, "max_rate_per_s"), found, expected)


def _cut_end(element: _Commanded) -> Iterator[Probed]:
    if element.end is None:
        return
    bounds = {"`clip`": element.clip, f"the limits of output '{element.output}'": element.limits}
    for what, (low, high) in bounds.items():
        if not low <= element.end <= high:
            cut = number(min(max(element.end, low), high))
            found = f"a start that leads '{element.name}' to {number(element.end)}, which {what} cut to {cut}"
            yield Probed(element.start_at, found.replace("` cut", "` cuts"), "a pose within them")
            return


def _terminated_end(loop: LoopConfig, scope: Scope, element: _Commanded) -> Iterator[Probed]:
    limit = loop.policy.terminations.joint_pos_out_of_limit
    vector = None if limit is None else scope.vector(limit.position)
    if limit is None or vector is None or element.end is None:
        return
    joints = limit.element_names(scope) or vector.element_names or ()
    if element.joint not in joints:
        return
    at = list(joints).index(element.joint)
    low, high = (per_element(values, len(joints))[at] for values in (limit.min, limit.max))
    end = min(max(element.end, element.clip[0]), element.clip[1])
    if low <= end <= high:
        return
    bound, value = ("min", low) if end < low else ("max", high)
    found = (
        f"{number(value)} for '{element.joint}', which the start leads to {number(end)}: the run "
        "ends there"
    )
    here = ("policy", "terminations", "joint_pos_out_of_limit", bound)
    yield Probed(here, found, "limits around the pose in which the policy begins")


def _commanded(
    loop: LoopConfig,
    policy: Policy,
    scope: Scope,
    outputs: Mapping[str, Sequence[Signal]],
    sinks: Mapping[str, Sink],
) -> Iterator[_Commanded]:
    actions = list(loop.policy.action_terms.items())
    sizes = [action.size(scope) or scope.action.element_count or 0 for _, action in actions]
    places = placed([action.targets(scope) for _, action in actions], sizes, sinks)
    if isinstance(places, str):
        return
    firsts = [0, *accumulate(sizes)]
    of_outputs = (
        (key, index, signal) for key, told in outputs.items() for index, signal in enumerate(told)
    )
    for (key, index, signal), place in zip(of_outputs, places, strict=True):
        if isinstance(place, float):
            continue
        which = next(n for n, size in enumerate(sizes) if place < firsts[n] + size)
        keys, action = actions[which]
        number_of_action, size = place - firsts[which], sizes[which]
        section = loop.outputs[key]
        names = tuple(told.name for told in outputs[key])
        joints = action.element_names(scope)
        clip = action.clip or (-math.inf, math.inf)
        of_target = not action.gives_efforts  # else the output limits what a controller makes of it
        yield _Commanded(
            keys=keys,
            action=action,
            joint="" if joints is None else joints[number_of_action],
            name=signal.name,
            output=key,
            clip=(
                per_element(clip[0], size)[number_of_action],
                per_element(clip[1], size)[number_of_action],
            ),
            limits=(
                _value(section, "min", names, index, -math.inf) if of_target else -math.inf,
                _value(section, "max", names, index, math.inf) if of_target else math.inf,
            ),
            safe=_value(section, "safe", names, index, 0.0),
            max_rate_per_s=(
                _value(section, "max_rate_per_s", names, index, math.inf) if of_target else math.inf
            ),
            end=_end(loop, action, scope, size, number_of_action),
        )


def _value(
    section: OutputSection, key: str, names: Sequence[str], index: int, no_limit: float
) -> float:
    values = section.vectors[key]
    return no_limit if values is None else numbers(values, names, no_limit)[index]


def _end(loop: LoopConfig, action: ActionTerm, scope: Scope, size: int, index: int) -> float | None:
    if action.start is None:
        return None
    pose = action.start.pose(relative=action.relative)
    if pose is None:
        if action.plus is not None or action.group is not None or not loop.policy.sections:
            return None
        pose = action.offset
    names = action.names(scope)
    return float(per_element(named_values(pose, scope, names, size), size)[index])
