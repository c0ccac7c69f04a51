"""IO descriptors of Isaac Lab, as ``--export_io_descriptors`` writes them: ``…_IO_descriptors.yaml``."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from rtloop.policy.exported_file import Entry
from rtloop.policy.importing.training import Commanded, Observed, Told, Training

#: By the class of the action: what it commands.
_ACTIONS = {
    "JointPositionAction": "position",
    "RelativeJointPositionAction": "position",
    "JointVelocityAction": "velocity",
    "JointEffortAction": "effort",
}


def is_isaaclab(file: Entry) -> bool:
    """Whether these are the keys of such a file."""
    return isinstance(file.value.get("actions"), list) and "observations" in file


def read(file: Entry) -> Training:
    """Raises ConfigError."""
    actions = tuple(_actions(file["actions"]))
    joints, pose = _joints(file, actions)
    groups = {group.key: group for group in file["observations"].items()}
    # The exporter writes the group of the policy and may write others, as that of the critic.
    if not groups:
        raise file["observations"].wrong("a group of terms, as `policy`")
    group = groups.get("policy") or next(iter(groups.values()))
    observed = tuple(_observed(term) for term in group.items())
    todos = (
        []
        if group.key == "policy"
        else [f"{group}: the file has no group 'policy'; that this one is observed is a guess"]
    )
    todos += [
        f"{term}: {term['name'].value} has modifiers, which the file does not describe: "
        f"{term['extras']['modifiers'].value}"
        for term in group.items()
        if term["extras"].value and term["extras"]["modifiers"].value
    ]
    todos += [
        f"{action}: {action['full_path'].value} is not Isaac Lab's own; it is taken for what is called so there"
        for action in file["actions"].items()
        if not _is_own(action["full_path"].text())
    ]
    period = None
    if "scene" in file and "dt" in file["scene"]:
        dt = file["scene"]["dt"]
        period = Told(Fraction(repr(dt.positive())), str(dt))
    return Training(
        period_s=period,
        joints=joints,
        pose=pose,
        observations={"": observed},
        actions=actions,
        todos=tuple(todos),
    )


def _joints(
    file: Entry, actions: tuple[Commanded, ...]
) -> tuple[Told[tuple[str, ...]] | None, Told[tuple[float, ...]] | None]:
    """Those of the robot that is acted on, and their default pose."""
    acted = tuple(dict.fromkeys(name for action in actions for name in action.joints or ()))
    for robot in file["articulations"].items() if "articulations" in file else ():
        names = robot["joint_names"].texts()
        if set(acted) <= set(names):
            pose = robot["default_joint_pos"]
            # The order of the action is the policy's own, where it acts on all joints.
            order = acted if len(acted) == len(names) else names
            values = pose.number_list()
            if len(values) != len(names):
                raise pose.wrong(f"{len(names)} numbers, one for each joint")
            by_name = dict(zip(names, values, strict=True))
            told = Told(tuple(by_name[name] for name in order), str(pose))
            return Told(order, str(robot["joint_names"])), told
    return (Told(acted, actions[0].where) if acted else None), None


def _is_own(path: str) -> bool:
    """Whether Isaac Lab defines it: one of a user's may do otherwise, whatever it is called."""
    return path.startswith(("isaaclab", "omni.isaac.lab"))


def _observed(term: Entry) -> Observed:
    overloads = term["overloads"]
    shape = term["shape"].whole_numbers()
    if len(shape) != 1:
        raise term["shape"].wrong("[n], a vector: rtloop's observation is one")
    # A term goes by its function; one of another name was registered by a user.
    path = term["full_path"].text() if "full_path" in term else ""
    function = path.rpartition(".")[2] if _is_own(path) else path and f"own:{path}"
    offsets = next((term[k] for k in ("joint_pos_offsets", "joint_vel_offsets") if k in term), None)
    scale, history = overloads["scale"], overloads["history_length"]
    return Observed(
        function or term["name"].text(),
        str(term),
        size=shape[0],
        clip=None if overloads["clip"].value is None else overloads["clip"].ranges(),
        scale=1.0 if scale.value is None else scale.numbers(),
        history=max(1, history.whole()) if history.value is not None else 1,
        joints=term["joint_names"].texts() if "joint_names" in term else None,
        minus=None if offsets is None else offsets.numbers(),
    )


def _actions(section: Entry) -> Iterator[Commanded]:
    for action in section.items():
        kind = action["full_path"].text().rpartition(".")[2]
        if kind not in _ACTIONS:
            raise action["full_path"].wrong(f"one of {', '.join(_ACTIONS)}")
        clip, scale, offset = action["clip"], action["scale"], action["offset"]
        yield Commanded(
            _ACTIONS[kind],
            str(action),
            joints=action["joint_names"].texts(),
            scale=1.0 if scale.value is None else scale.numbers(),
            offset=0.0 if offset.value is None else offset.numbers(),
            clip=None if clip.value is None else clip.ranges(),
            plus_measured=kind.startswith("Relative"),
        )
