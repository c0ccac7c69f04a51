"""``deploy.yaml`` of unitree_rl_lab and unitree_rl_mjlab."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from rtloop.config.values import VECTOR_SIZE_MAX
from rtloop.policy.exported_file import Entry, Numbers
from rtloop.policy.importing.training import Commanded, Observed, Told, Training

#: Switches that stand among the terms of an observation.
_SWITCHES = ("use_gym_history", "scale_first")
_ACTIONS = {
    "JointPositionAction": "position",
    "JointVelocityAction": "velocity",
    "JointEffortAction": "effort",
}
#: Terms by other names than Isaac Lab's functions.
_FUNCTIONS = {
    "velocity_commands": "generated_commands",
    "keyboard_velocity_commands": "generated_commands",
}
_VELOCITY = ("lin_vel_x", "lin_vel_y", "ang_vel_z")


def is_unitree(file: Entry) -> bool:
    """Whether these are the keys of such a file."""
    return "joint_ids_map" in file and "observations" in file


def read(file: Entry, names: tuple[str, ...] | None, of_policy: tuple[str, ...] | None) -> Training:
    """``names`` are the joints in the order of the robot's motors, ``of_policy`` in that of the policy.

    The file tells neither; without both a joint is called by the number of its motor. Raises ConfigError.
    """
    numbers = file["joint_ids_map"].whole_numbers()
    for position, number in enumerate(numbers):
        if not 0 <= number < VECTOR_SIZE_MAX or number in numbers[:position]:
            raise file["joint_ids_map"].wrong("the numbers of motors, from 0 on, each once")
    count = len(file["stiffness"].number_list()) if "stiffness" in file else 0
    count = max([count, *(number + 1 for number in numbers)])
    if names is not None and len(names) != count:
        raise file["joint_ids_map"].wrong(f"{len(names)} motors, as many as there are names")
    if of_policy is not None and len(of_policy) != len(numbers):
        raise file["joint_ids_map"].wrong(f"{len(of_policy)} joints, as many as the model names")
    motors = list(names or (f"motor_{number}" for number in range(count)))
    if names is None and of_policy is not None:
        for number, name in zip(numbers, of_policy, strict=True):
            motors[number] = name
    joints = tuple(motors[number] for number in numbers)
    where = str(file["joint_ids_map"])
    period = None
    if "step_dt" in file:
        step = file["step_dt"]
        period = Told(Fraction(repr(step.positive())), str(step))
    observations, whole_frames = _observations(file["observations"], joints)
    todos = []
    if names is None and of_policy is None:
        todos.append(
            "deploy.yaml has numbers of motors and no names: motor_0, motor_1, … are made up; name "
            "them as your robot does (--joints)"
        )
    pose = file["default_joint_pos"]
    return Training(
        period_s=period,
        joints=Told(joints, where),
        motors=Told(numbers, where),
        motor_count=count,
        pose=Told(pose.number_list(), str(pose)) if pose.value is not None else None,
        observations=observations,
        whole_frames=whole_frames,
        actions=tuple(_actions(file["actions"], joints)),
        ranges=_ranges(file),
        gains={
            key: Told(file[key].number_list(), str(file[key]))
            for key in ("stiffness", "damping")
            if key in file
        },
        todos=tuple(todos),
    )


def _observations(
    section: Entry, joints: tuple[str, ...]
) -> tuple[dict[str, tuple[Observed, ...]], frozenset[str]]:
    terms = [entry for entry in section.items() if entry.key not in _SWITCHES]
    is_grouped = bool(terms) and all(
        isinstance(term.value, dict)
        and any(
            isinstance(v, dict) and v.keys() & {"scale", "history_length", "clip"}
            for v in term.value.values()
        )
        for term in terms
    )
    groups = {entry.key: entry for entry in terms} if is_grouped else {"": section}
    found, whole = {}, set()
    for name, group in groups.items():
        scale_first = bool(group["scale_first"].value or section["scale_first"].value)
        found[name] = tuple(
            _observed(entry, joints, scale_first)
            for entry in group.items()
            if entry.key not in _SWITCHES
        )
        if group["use_gym_history"].value or section["use_gym_history"].value:
            whole.add(name)
    return found, frozenset(whole)


def _observed(term: Entry, joints: tuple[str, ...], scale_first: bool) -> Observed:
    scale: Numbers = 1.0 if term["scale"].value is None else term["scale"].numbers()
    params = term["params"].value or {}
    picked = _picked(term["params"], joints) if params else None
    return Observed(
        _FUNCTIONS.get(term.key, term.key),
        str(term),
        size=len(scale) if isinstance(scale, tuple) else None,
        clip=None if term["clip"].value is None else term["clip"].ranges(),
        scale=scale,
        scale_first=scale_first or bool(term["scale_first"].value),
        history=max(1, term["history_length"].whole()) if "history_length" in term else 1,
        joints=picked,
        params=params,
    )


def _picked(params: Entry, joints: tuple[str, ...]) -> tuple[str, ...] | None:
    holder = params if params["asset_cfg"].value is None else params["asset_cfg"]
    return _joints(holder["joint_ids"], joints)


def _joints(ids: Entry, joints: tuple[str, ...]) -> tuple[str, ...] | None:
    """Those of these numbers in the policy's order; None for all of them."""
    if ids.value is None:
        return None
    if isinstance(ids.value, slice):
        picked = joints[ids.value]
        return None if picked == joints else picked
    numbers = ids.whole_numbers()
    if any(not 0 <= number < len(joints) for number in numbers):
        raise ids.wrong(f"numbers below {len(joints)}, that of the joints")
    return tuple(joints[number] for number in numbers)


def _actions(section: Entry, joints: tuple[str, ...]) -> Iterator[Commanded]:
    for action in section.items():
        if action.key not in _ACTIONS:
            raise action.wrong(f"one of {', '.join(_ACTIONS)}")
        yield Commanded(
            _ACTIONS[action.key],
            str(action),
            joints=_joints(action["joint_ids"], joints) or joints,
            scale=1.0 if action["scale"].value is None else action["scale"].numbers(),
            offset=0.0 if action["offset"].value is None else action["offset"].numbers(),
            clip=None if action["clip"].value is None else action["clip"].ranges(),
        )


def _ranges(file: Entry) -> dict[str, Told[tuple[Numbers, Numbers]]]:
    """The robot clamps the stick to what was trained; the term sees that."""
    if "commands" not in file:
        return {}
    found: dict[str, Told[tuple[Numbers, Numbers]]] = {}
    for command in file["commands"].items():
        ranges = command["ranges"]
        if all(key in ranges for key in _VELOCITY):
            pairs = [ranges[key].pair() for key in _VELOCITY]
            lows, highs = tuple(low for low, _ in pairs), tuple(high for _, high in pairs)
            found[command.key] = Told((lows, highs), str(ranges))
    return found
