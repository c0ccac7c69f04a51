"""From the terms of a training to the terms of a loop, and the inputs that these read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rtloop.config.values import VECTOR_SIZE_MAX
from rtloop.errors import ConfigError
from rtloop.policy.importing.bounds import Bounds, both, one_number, row, scaled, shape
from rtloop.policy.importing.names import Names
from rtloop.policy.importing.page import Verbatim
from rtloop.policy.importing.readings import Reading, numbered, reading_of, section_name
from rtloop.policy.importing.sound import refuse_other_length
from rtloop.policy.importing.training import Observed, Told, Training

POSE = "default_joint_pos"


@dataclass
class InputDraft:
    """An input of the loop that is to be written."""

    size: int
    initial: tuple[float, ...] | None
    names: tuple[str, ...] | None
    where: str
    todo: str = ""
    is_guessed: bool = False
    """Whether the size is what was left over."""
    reads: str | None = None
    """What it measures: who reads the same shares it. None is shared with nobody."""

    @property
    def like(self) -> tuple[object, ...]:
        """What is equal where one input serves both."""
        return self.reads, self.size, self.names


@dataclass
class Joints:
    """The joints of a policy, in its order and in the robot's."""

    policy: tuple[str, ...] | None
    robot: tuple[str, ...] | None
    count: int
    pose: Told[tuple[float, ...]] | None

    @property
    def robot_pose(self) -> tuple[float, ...] | None:
        """The default pose in the order of the robot; 0 for what is no joint of the policy."""
        if self.pose is None or self.policy is None or self.robot is None:
            return None
        by_name = dict(zip(self.policy, self.pose.value, strict=False))
        return tuple(by_name.get(name, 0.0) for name in self.robot)

    @classmethod
    def of(cls, training: Training, action_size: int) -> Joints:
        policy = None if training.joints is None else training.joints.value
        robot = policy
        if policy is not None and training.motors is not None:
            count = max(training.motor_count, *(n + 1 for n in training.motors.value))
            numbered = [f"motor_{number}" for number in range(count)]
            for number, name in zip(training.motors.value, policy, strict=True):
                numbered[number] = name
            robot = tuple(numbered)
        pose = training.pose
        count = len(policy or (pose.value if pose else ())) or action_size
        return cls(policy, robot, count, pose)


@dataclass
class Drafted:
    """The observation of one input of the model."""

    terms: list[tuple[dict[str, Any], str]] = field(default_factory=list)
    """The keys of each, and where they come from."""
    sizes: list[int] = field(default_factory=list)
    history: int = 1
    """Of whole frames."""


class TermDrafter:
    """Makes terms, and collects the inputs that they read."""

    def __init__(self, joints: Joints, action_size: int, names: Names, training: Training) -> None:
        """``names`` gives inputs other names than those that are made up."""
        self.inputs: dict[str, InputDraft] = {}
        self.todos: list[str] = []
        self.wanted: set[str] = set()
        """What the inputs are by themselves, whatever they are called."""
        self._joints = joints
        self._action_size = action_size
        self._names = names
        self._training = training

    def draft(self, terms: tuple[Observed, ...], wanted: int, tensor: str, frames: bool) -> Drafted:
        """The terms of an input of ``wanted`` values. Raises ConfigError where these are others."""
        if not terms:
            raise ConfigError(f"the observation of the model's input {tensor} has no terms")
        known = [self._size(term) for term in terms]
        drafted = Drafted()
        if frames:
            histories = {term.history for term in terms}
            if len(histories) != 1:
                raise ConfigError(
                    f"{terms[0].where}: found histories of {sorted(histories)} steps, and whole frames "
                    "(use_gym_history); expected one length for all terms"
                )
            (drafted.history,) = histories
        sizes = self._completed(terms, known, wanted, tensor)
        for term, size, was_known in zip(terms, sizes, known, strict=True):
            keys = self._term(term, size, was_known is None)
            if term.history > 1 and not frames:
                keys["history"] = term.history
            drafted.terms.append((keys, term.where))
            drafted.sizes.append(size)
        return drafted

    def name(self, wanted: str) -> str:
        """What an input or output is called."""
        return self._names.of(wanted)

    def joint_input(self, name: str, where: str) -> str:
        """An input with an element for each joint of the robot."""
        robot = self._joints.robot
        todo = "" if robot else "one element for each joint, in the order of the policy"
        size = len(robot) if robot else self._joints.count
        initial = self._joints.robot_pose if name == "joint_pos" else None
        return self._add(name, InputDraft(size, initial, robot, where, todo, reads=name))

    # --- sizes ---

    def _size(self, term: Observed) -> int | None:
        reading = reading_of(term.function)
        size = reading.size
        if reading.kind == "last_action":
            size = self._action_size
        elif reading.of_joints:
            size = len(term.joints) if term.joints else self._joints.count
        if size is not None and term.size not in (None, size):
            raise ConfigError(
                f"{term.where}: found {term.size} values; expected {size} of {term.function}"
            )
        return term.size if size is None else size

    def _completed(
        self, terms: tuple[Observed, ...], known: list[int | None], wanted: int, tensor: str
    ) -> list[int]:
        """All sizes: what the file does not tell is what is left over."""
        taken = sum((size or 0) * t.history for size, t in zip(known, terms, strict=True))
        open_terms = [term for term, size in zip(terms, known, strict=True) if size is None]
        rest = wanted - taken
        least = sum(term.history for term in open_terms)
        first = open_terms[0].history if open_terms else 1
        if (not open_terms and rest) or rest < least or (rest - least) % first:
            listed = ", ".join(
                f"{t.function} {'?' if s is None else s}{f' × {t.history}' if t.history > 1 else ''}"
                for t, s in zip(terms, known, strict=True)
            )
            raise ConfigError(
                f"the files contradict each other: {terms[0].where.rpartition('.')[0] or terms[0].where} and "
                f"the following make an observation of {taken} values ({listed}); expected {wanted}, the "
                f"size of the model's input {tensor} (an exporter leaves out terms that it cannot describe)"
            )
        if len(open_terms) > 1:
            names = ", ".join(term.function for term in open_terms)
            self.todos.append(
                f"nothing tells how many values each of {names} has: together {rest}, as written below by guess"
            )
        sizes = []
        for term, size in zip(terms, known, strict=True):
            if size is not None:
                sizes.append(size)
            else:
                sizes.append(1 + (rest - least) // first if term is open_terms[0] else 1)
        return sizes

    # --- terms ---

    def _term(self, term: Observed, size: int, is_guessed: bool) -> dict[str, Any]:
        reading = reading_of(term.function)
        keys = self._source(term, reading, size, is_guessed)
        refuse_other_length(term.where, size, term.scale, term.minus, *(term.clip or ()))
        return keys | shape(term.scale, 0.0, self._clip(term, size), size)

    def _source(
        self, term: Observed, reading: Reading, size: int, is_guessed: bool
    ) -> dict[str, Any]:
        if reading.kind == "last_action":
            return {"last_action": True}
        if reading.kind == "phase":
            return self._phase(term)
        if reading.of_joints:
            keys: dict[str, Any] = {"input": self._of_joints(term, reading, size)}
            strange = [
                name for name in term.joints or () if name not in (self._joints.policy or ())
            ]
            if strange and reading.of_robot:
                raise ConfigError(
                    f"{term.where}: found the joint '{strange[0]}'; expected joints of the policy"
                )
            if self._joints.policy is not None and not strange:
                whole = term.joints in (None, self._joints.policy)
                keys["joints"] = "policy" if whole else list(term.joints or ())
            minus = self._minus(term, reading)
            if minus is not None:
                keys["minus"] = minus
            return keys
        width = 4 if reading.kind == "projected_gravity" else size
        name = reading.input
        if name == "command":
            name = section_name((term.params or {}).get("command_name") or name)
            name = "command" if name == "base_velocity" else name
        names = term.joints if len(term.joints or ()) == width else None
        reads = reading.input if reading.of_robot else None
        if reads is None and term.params is not None:
            reads = f"{term.function} {term.params}"
        draft = InputDraft(
            width, reading.initial, names, term.where, reading.todo, is_guessed, reads
        )
        keys = {reading.kind: self._add(name, draft)}
        if names is not None and set(names) <= set(self._joints.policy or ()):
            keys["joints"] = "policy" if names == self._joints.policy else list(names)
        return keys

    def _of_joints(self, term: Observed, reading: Reading, size: int) -> str:
        robot = set(self._joints.robot or ())
        is_first = self.name(reading.input) not in self.inputs
        if reading.of_robot or (is_first and robot >= set(term.joints or ())):
            return self.joint_input(reading.input, term.where)
        todo = "" if term.joints else "one element for each joint, in the order of the policy"
        return self._add(reading.input, InputDraft(size, None, term.joints, term.where, todo))

    def _phase(self, term: Observed) -> dict[str, Any]:
        period = (term.params or {}).get("period")
        if not isinstance(period, int | float) or not 0 < period < float("inf"):
            raise ConfigError(f"{term.where}: found no params.period; expected seconds of one turn")
        # The robot's clock is advanced before the first observation.
        return {"phase": {"period_s": float(period), "first_step": 1}, "show": ["sin", "cos"]}

    def _minus(self, term: Observed, reading: Reading) -> Any:
        pose = self._joints.pose
        if term.minus is not None:
            names = term.joints or self._joints.policy
            if pose is not None and self._joints.policy is not None and reading.minus_pose:
                by_name = dict(zip(self._joints.policy, pose.value, strict=False))
                if names is not None and term.minus == tuple(by_name.get(n) for n in names):
                    return POSE
            minus = one_number(term.minus)
            return None if minus == 0.0 else minus
        if not reading.minus_pose:
            return None
        if pose is None:
            self.todos.append(
                f"{term.where}: default_joint_pos, which this term subtracts, is told nowhere: add `minus`"
            )
            return None
        return POSE

    def _clip(self, term: Observed, size: int) -> Bounds | None:
        """Behind the scale: that of the term and, of a command, what the robot clamps it to."""
        own = term.clip
        if own is not None and not term.scale_first:
            own = scaled(own, term.scale)
        ranges = self._training.ranges
        if term.function != "generated_commands" or not ranges:
            return own
        name = str((term.params or {}).get("command_name"))
        told = ranges.get(name) or (next(iter(ranges.values())) if len(ranges) == 1 else None)
        if told is None or len(row(told.value[0], size)) != size:
            return own
        # The stick is clamped before anything else is done to it.
        clamped = scaled(told.value, term.scale)
        return clamped if own is None else both(clamped, own)

    def _add(self, name: str, draft: InputDraft) -> str:
        if draft.size > VECTOR_SIZE_MAX:
            raise ConfigError(
                f"{draft.where}: found {draft.size} values; expected at most {VECTOR_SIZE_MAX}, the longest "
                "vector that a loop reads"
            )
        self.wanted.add(name)
        called, first, number = self.name(name), self.name(name), 1
        while (there := self.inputs.get(called)) is not None:
            if draft.reads is not None and there.like == draft.like:
                return called
            number += 1
            called = self.name(numbered(name, number))
        if number > 1:
            other = self.inputs[first]
            why = f"nothing tells that it is what '{first}' is ({other.where})"
            draft.todo = f"{why}; {draft.todo}" if draft.todo else why
        self.inputs[called] = draft
        return called


def zeros(count: int) -> Verbatim:
    """A list of zeros."""
    return Verbatim("[" + ", ".join("0" * count) + "]")
