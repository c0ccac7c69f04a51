"""What exporters tell of a training, in one vocabulary: each format is read into this."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Generic, TypeVar

from rtloop.errors import ConfigError
from rtloop.policy.exported_file import Numbers

T = TypeVar("T")
#: Metadata have three decimals.
ROUNDED = 5e-4 + 1e-9


@dataclass(frozen=True)
class Told(Generic[T]):
    """A value, and where it stands."""

    value: T
    where: str


@dataclass(frozen=True)
class Observed:
    """A term of an observation, by the name of its function in Isaac Lab."""

    function: str
    where: str
    size: int | None = None
    """Of one step; None where the file does not tell."""
    clip: tuple[Numbers, Numbers] | None = None
    scale: Numbers = 1.0
    scale_first: bool = False
    """Whether the scale comes before the clip."""
    history: int = 1
    """Steps that are observed, oldest first."""
    is_history_told: bool = True
    """Whether the file tells that."""
    joints: tuple[str, ...] | None = None
    """The joints that are observed; None is all of the policy."""
    minus: Numbers | None = None
    """The pose or velocity that is subtracted; None is that of the policy."""
    params: Mapping[str, Any] | None = None
    """With what the function is called: with the function, all that says what it reads. None is untold."""


@dataclass(frozen=True)
class Commanded:
    """A part of the action: ``clip(raw * scale + offset)`` for these joints."""

    quantity: str
    """``position``, ``velocity`` or ``effort``."""
    where: str
    joints: tuple[str, ...] | None = None
    size: int | None = None
    scale: Numbers = 1.0
    offset: Numbers = 0.0
    clip: tuple[Numbers, Numbers] | None = None
    output: str | None = None
    """Of the model; None is its action, of which each part takes its share, in order."""
    plus_measured: bool = False
    """Whether it is added to where the joints are."""


@dataclass(frozen=True)
class Training:
    """All that is told. ``None``, or nothing, is what a file does not tell."""

    period_s: Told[Fraction] | None = None
    joints: Told[tuple[str, ...]] | None = None
    """In the order of the policy."""
    motors: Told[tuple[int, ...]] | None = None
    """The number of each joint on the robot, where that has another order."""
    motor_count: int = 0
    pose: Told[tuple[float, ...]] | None = None
    """``default_joint_pos``, in the order of the policy."""
    observations: Mapping[str, tuple[Observed, ...]] = field(default_factory=dict)
    """By the input of the model; "" is the only one."""
    whole_frames: frozenset[str] = frozenset()
    """Inputs whose history is one of whole frames, not of each term."""
    actions: tuple[Commanded, ...] = ()
    ranges: Mapping[str, Told[tuple[Numbers, Numbers]]] = field(default_factory=dict)
    """Of commands, by their names; "" is the only one."""
    counters: Mapping[str, int] = field(default_factory=dict)
    gains: Mapping[str, Told[tuple[float, ...]]] = field(default_factory=dict)
    """``stiffness`` and ``damping``, in the order of the policy or, with ``motors``, of the robot."""
    todos: tuple[str, ...] = ()
    """What the files leave open, in words."""

    def over(self, other: Training) -> Training:
        """Both: this one where both tell. Raises ConfigError where they contradict each other."""
        _same("joints", self.joints, other.joints)
        _close("default_joint_pos", self.pose, other.pose)
        _same("number of steps per second", self.period_s, other.period_s)
        mine, theirs = _functions(self), _functions(other)
        if mine and theirs and mine != theirs:
            raise ConfigError(
                f"the files contradict each other: the observation is {', '.join(mine)} by "
                f"{_first(self).where}, and {', '.join(theirs)} by {_first(other).where}; expected "
                "files of one training"
            )
        _same_histories(_all_terms(self), _all_terms(other))
        _same_scales(self.actions, other.actions)
        return replace(
            self,
            period_s=self.period_s or other.period_s,
            joints=self.joints or other.joints,
            pose=self.pose or other.pose,
            observations=self.observations or other.observations,
            actions=self.actions or other.actions,
            ranges={**other.ranges, **self.ranges},
            counters={**other.counters, **self.counters},
            gains=self.gains or other.gains,
            todos=self.todos if self.observations else (*self.todos, *other.todos),
        )


def _all_terms(training: Training) -> list[Observed]:
    return [term for terms in training.observations.values() for term in terms]


def _functions(training: Training) -> list[str]:
    return [term.function for term in _all_terms(training)]


def _same_histories(mine: list[Observed], theirs: list[Observed]) -> None:
    for one, other in zip(mine, theirs, strict=False):
        if one.is_history_told and other.is_history_told:
            what = f"the number of steps of {one.function}"
            _same(what, Told(one.history, one.where), Told(other.history, other.where))


def _same_scales(mine: tuple[Commanded, ...], theirs: tuple[Commanded, ...]) -> None:
    others = {key: told for part in theirs for key, told in _scales(part)}
    for key, told in (pair for part in mine for pair in _scales(part)):
        if key in others:
            _close(f"the scale of the action for {key[1]}", told, others[key])


def _scales(part: Commanded) -> Iterator[tuple[tuple[str, str], Told[tuple[float, ...]]]]:
    joints = part.joints or ()
    row = part.scale if isinstance(part.scale, tuple) else (part.scale,) * len(joints)
    for joint, scale in zip(joints, row, strict=False):
        yield (part.quantity, joint), Told((scale,), part.where)


def _first(training: Training) -> Observed:
    return next(iter(training.observations.values()))[0]


def _same(what: str, one: Told[Any] | None, other: Told[Any] | None) -> None:
    if one is not None and other is not None and one.value != other.value:
        raise _contradiction(what, one, other)


def _close(
    what: str, one: Told[tuple[float, ...]] | None, other: Told[tuple[float, ...]] | None
) -> None:
    if one is None or other is None:
        return
    pairs = zip(one.value, other.value, strict=False)
    if len(one.value) != len(other.value) or any(abs(a - b) > ROUNDED for a, b in pairs):
        raise _contradiction(what, one, other)


def _contradiction(what: str, one: Told[Any], other: Told[Any]) -> ConfigError:
    def shown(told: Told[Any]) -> str:
        value = told.value
        return f"{list(value) if isinstance(value, tuple) else value} by {told.where}"

    return ConfigError(
        f"the files contradict each other: {what} is {shown(one)}, and {shown(other)}; expected "
        "files of one training"
    )
