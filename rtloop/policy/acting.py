"""From what a model answers to the targets of an action, and to what ``last_action`` sees of it.

In this order: wait for the start, smooth, fade in, scale, add (an offset or the last target, a residual);
then, in each cycle, what lies between two targets, ramp, clip, limit the torque, control. A step that an action
does not use is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rtloop.policy.between import interpolated
from rtloop.policy.graph_builder import GraphBuilder
from rtloop.policy.shaping import applied, clipped, gathered, met, named_values, pose_row, row
from rtloop.policy.terms.action import ActionTerm
from rtloop.policy.terms.elements import DEFAULT_POSE, Scope
from rtloop.policy.terms.limits import torque_limited
from rtloop.policy.terms.measured import Names, measured
from rtloop.policy.terms.start import acts, cycles_in, fade, has_acted, ramp


@dataclass(frozen=True)
class Acted:
    """The values of one action."""

    targets: str
    """float32 [1, n]."""
    taken: str
    """What ``last_action`` sees of them: float32 [1, n]."""


def first_acting_cycle(builder: GraphBuilder, actions: Iterable[ActionTerm]) -> int:
    """The cycles before the policy acts: those of the longest start."""
    starts = [action.start for action in actions if action.start is not None]
    return max([cycles_in(start.ramp_s, builder.cycle_s) for start in starts], default=0)


def awaited(builder: GraphBuilder, answer: str, first_cycle: int) -> str:
    """What a model answers, float32 [1, n]; zeros before ``first_cycle``."""
    import numpy as np

    def make() -> str:
        nothing = builder.constant(np.zeros((1, 1), np.float32), "no_action")
        return builder.node("Where", [acts(builder, first_cycle), answer, nothing], "awaited")

    return builder.once(("awaited", answer), make) if first_cycle else answer


def acted(
    builder: GraphBuilder,
    action: ActionTerm,
    value: str,
    scope: Scope,
    first_cycle: int,
    places: Sequence[int],
    between: str,
) -> Acted:
    """The targets of an action whose values, float32 [1, n], are ``value`` after its ``select``.

    Each goes to the element of the command at its place in ``places``; ``between`` says what is commanded
    between two runs of the policy.
    """
    if action.smooth is not None:
        value = _smoothed(builder, value, action.smooth)
    if action.fade_in_s is not None:
        value = builder.node("Mul", [value, fade(builder, first_cycle, action.fade_in_s)], "faded")
    size = builder.size(value)
    names = action.element_names(scope)
    target = applied(builder, "Mul", value, row(action.scale, size), 1.0)
    if action.relative:
        base = _base(builder, action, scope, names, places)
        target = builder.node("Add", [target, base], "relative")
    else:
        offset = pose_row(action, scope, action.names(scope), size)
        target = applied(builder, "Add", target, offset, 0.0)
    if action.plus is not None:
        residual = met(builder, action.plus, action.values(scope, size), scope)
        builder.must_be_finite(residual)  # a start would hide it
        target = builder.node("Add", [target, residual], "with_residual")
    target = builder.held(target)
    has_started = acts(builder, first_cycle) if first_cycle else None
    end = _end_of_start(builder, action, scope, names, target)
    if between == "interpolate" and builder.every > 1:
        target = interpolated(builder, target, lambda _: wanted)
    with builder.each_cycle():
        if action.start is not None and has_started is not None:
            line = ramp(builder, action.start, scope, names, end)
            target = builder.node("Where", [has_started, target, line], "started")
        wanted = target
        target = clipped(builder, target, action)
        taken = value
        if action.torque_limit is not None:
            builder.must_be_finite(wanted)  # the limit would make a plausible number of an infinity
            target = torque_limited(builder, target, action.torque_limit, scope, names, has_started)
            if action.torque_limit.last_action == "limited":
                # Where nothing was cut, the action as it was, to the last bit.
                cut = builder.node("Sub", [target, wanted], "cut")
                cut = applied(builder, "Div", cut, row(action.scale, size), 1.0)
                taken = builder.node("Add", [value, cut], "taken")
                if has_started is not None:
                    taken = builder.node("Where", [has_started, taken, value], "taken_so_far")
        for controller in action.controllers:
            target = controller.emit(builder, target, scope, names)
        return Acted(target, taken)


def _end_of_start(
    builder: GraphBuilder, action: ActionTerm, scope: Scope, names: Names | None, target: str
) -> str:
    """Where a start leads to, float32 [1, n]: until the policy acts ``target`` is that of an action of zero."""
    pose = None if action.start is None else action.start.pose(relative=action.relative)
    if pose is None:
        return target
    size = builder.size(target)
    return builder.constant(row(named_values(pose, scope, names, size), size), "ramp_end")


def _smoothed(builder: GraphBuilder, value: str, share: float) -> str:
    """share * value + (1 - share) * the one before, which is zeros at first."""
    size = builder.size(value)
    before = builder.feedback("average", (1, size), lambda _: smoothed, of_applied=True)
    shares = [builder.constant(row(part, 1), "share") for part in (share, 1.0 - share)]
    new = builder.node("Mul", [value, shares[0]], "of_output")
    kept = builder.node("Mul", [before, shares[1]], "of_average")
    smoothed = builder.node("Add", [kept, new], "smoothed")
    return smoothed


def _base(
    builder: GraphBuilder,
    action: ActionTerm,
    scope: Scope,
    names: tuple[str, ...] | None,
    places: Sequence[int],
) -> str:
    """What left last for the elements of the action; before the first command, where they are."""
    last = builder.last_command
    if list(places) != list(range(builder.size(last))):
        last = gathered(builder, last, places, "last_targets")
    if action.start is not None:  # nothing is relative before a command has left
        return last
    if action.measured is not None:
        first = builder.must_be_finite(measured(builder, action.measured, scope, names))
    else:
        pose = row(named_values(DEFAULT_POSE, scope, names, len(places)), len(places))
        first = builder.constant(pose, "first_target")
    return builder.node("Where", [has_acted(builder), last, first], "last_target_or_first")
