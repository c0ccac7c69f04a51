"""Writes the YAML of a loop around a policy, from what its files tell."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rtloop.errors import ConfigError
from rtloop.policy.exported_file import Entry, read_yaml
from rtloop.policy.importing import isaaclab, unitree
from rtloop.policy.importing.actions import ActionDraft, drafted_actions
from rtloop.policy.importing.leapp import write_bundle
from rtloop.policy.importing.loop_page import put_head, put_inputs, put_outputs, put_rate
from rtloop.policy.importing.names import Names
from rtloop.policy.importing.page import ELEMENT, Page, Verbatim, flow, todos
from rtloop.policy.importing.readings import numbered, section_name
from rtloop.policy.importing.sides import Sides, sides_of
from rtloop.policy.importing.sound import refuse_controls, refuse_unsound
from rtloop.policy.importing.terms import Drafted, Joints, TermDrafter
from rtloop.policy.importing.training import Observed, Told, Training


@dataclass(frozen=True)
class Draft:
    """A configuration to be written, and what it leaves to its reader."""

    text: str

    @property
    def todos(self) -> list[tuple[int, str]]:
        """The line, from 1, and the words of each."""
        return todos(self.text)


def draft(
    model: Path,
    deploy: Path | None = None,
    folder: Path | None = None,
    *,
    names: Mapping[str, str] | None = None,
    joints: tuple[str, ...] | None = None,
    fix_dimensions: Mapping[str, int] | None = None,
) -> Draft:
    """The YAML of a loop around ``model``, for a file in ``folder``: an ONNX file, or a LEAPP bundle's YAML.

    ``deploy`` is what the exporter wrote beside it. ``names`` gives inputs and outputs of the loop other
    names than those that are made up, ``joints`` those of the robot in its order where the files tell
    none. Raises ConfigError where a file cannot be read, or files contradict each other.
    """
    if model.suffix in (".yaml", ".yml"):
        if deploy is not None:
            raise ConfigError(f"{deploy}: found a file beside a bundle; expected the bundle alone")
        if joints is not None or fix_dimensions:
            option = "--fix-dimension" if fix_dimensions else "--joints"
            raise ConfigError(f"{option}: found beside a bundle, which tells that; expected none")
        return Draft(write_bundle(model, folder or Path(), Names(names or {})))
    sides = sides_of(model, fix_dimensions or {})
    training, is_taken = sides.training, joints is None
    if deploy is not None:
        file = read_yaml(deploy)
        is_taken = is_taken or unitree.is_unitree(file)
        training = _of_deploy(deploy, file, joints, training).over(training)
    if not is_taken and joints is not None:
        if training.joints is not None:
            told = f"the names that {training.joints.where} tells"
            raise ConfigError(f"--joints: found {', '.join(joints)}; expected none beside {told}")
        training = replace(training, joints=Told(joints, "--joints"))
    refuse_unsound(training)
    path = os.path.relpath(model.absolute(), (folder or Path()).absolute())
    refuse_controls("the path of the model", [path])
    refuse_controls("the tensors of the model", [*sides.file.inputs, *sides.file.outputs])
    files = [model.name, *([deploy.name] if deploy else [])]
    return _Writer(sides, training, Names(names or {}), path, fix_dimensions or {}).draft(files)


def _of_deploy(
    path: Path, file: Entry, joints: tuple[str, ...] | None, of_model: Training
) -> Training:
    if unitree.is_unitree(file):
        return unitree.read(file, joints, of_model.joints.value if of_model.joints else None)
    if isaaclab.is_isaaclab(file):
        return isaaclab.read(file)
    raise ConfigError(
        f"{path}: found the keys {', '.join(map(str, file.value))}; expected deploy.yaml of unitree_rl_lab or "
        "unitree_rl_mjlab, or IO descriptors of Isaac Lab"
    )


class _Writer:
    def __init__(
        self,
        sides: Sides,
        training: Training,
        names: Names,
        path: str,
        fixes: Mapping[str, int],
    ) -> None:
        self._sides = sides
        self._training = training
        self._names = names
        self._path = path
        self._fixes = fixes
        self._joints = Joints.of(training, sides.action.size)
        self._terms = TermDrafter(self._joints, sides.action.size, names, training)
        self._page = Page()

    def draft(self, files: list[str]) -> Draft:
        page = self._page
        observed = self._observed()
        actions = drafted_actions(self._sides, self._training.actions, self._joints, self._terms)
        self._names.refuse_unused()
        todos = (*self._training.todos, *self._terms.todos, *self._model_todos())
        put_head(page, files, section_name(self._sides.path.stem), todos)
        put_rate(page, self._training.period_s)
        anchors = put_inputs(page, self._terms.inputs)
        page.put("policy", depth=2)
        self._model()
        self._observations(observed, actions)
        self._actions(actions)
        name = self._terms.name("joint_pos") if "joint_pos" in self._terms.wanted else ""
        measured = {
            key: there
            for key, there in self._terms.inputs.items()
            if name and key.partition(name)[0] == "" and _is_number(key.removeprefix(name))
        }
        put_outputs(page, actions.outputs, measured, self._training.gains, anchors)
        return Draft(str(page))

    def _observed(self) -> dict[str, Drafted]:
        told, drafted = self._training.observations, {}
        inputs = self._sides.observed
        strange = sorted(told.keys() - inputs.keys() - {""})
        if strange or ("" in told and len(inputs) != 1):
            found = ", ".join(map(repr, strange)) or "one vector"
            there = ", ".join(map(str, inputs.values())) or "none"
            raise ConfigError(
                f"the files contradict each other: observations of {found}; expected those of the model's "
                f"inputs {there}"
            )
        for name, tensor in inputs.items():
            key = name if name in told else ""
            where = f"{self._sides.path.name}: input {name}"
            unknown = (Observed(f"input:{name}", where, size=tensor.size),)
            drafted[name] = self._terms.draft(
                told.get(key, unknown), tensor.size, str(tensor), key in self._training.whole_frames
            )
        return drafted

    def _model_todos(self) -> list[str]:
        found = []
        if not self._sides.is_action_sure:
            name = self._sides.action.name
            found.append(
                f"the model has several outputs: that '{name}' is the action is a guess (action_output)"
            )
        if self._sides.constants:
            listed = ", ".join(map(str, self._sides.constants.values()))
            found.append(f"inputs that no sensor gives are taken for constants of 0: {listed}")
        return found

    def _model(self) -> None:
        page, sides, training = self._page, self._sides, self._training
        page.put("model", self._path, f"sha256 {sides.file.sha256[:16]}…", 3)
        if self._fixes:
            page.put("fix_dimensions", dict(self._fixes), depth=3)
        if training.joints is not None:
            note = f"in the order of the policy; {training.joints.where}"
            page.put("joints", list(training.joints.value), note, 3)
        if training.pose is not None:
            page.put("default_joint_pos", list(training.pose.value), training.pose.where, 3)
        if sides.state:
            note = "recurrent state: guessed from the names of the model's inputs and outputs"
            page.put("state", dict(sides.state), note, 3)
        if sides.constants:
            page.put("constants", dict.fromkeys(sides.constants, 0), depth=3)
        counters = {k: v for k, v in training.counters.items() if k in sides.file.inputs}
        if counters:
            page.put("counters", counters, "counts the runs of the policy", 3)

    def _observations(self, observed: Mapping[str, Drafted], actions: ActionDraft) -> None:
        page = self._page
        frames = {name: drafted for name, drafted in observed.items() if drafted.history > 1}
        groups: dict[str, str] = {}
        for name in frames:
            wanted = "frame" if len(frames) == 1 else section_name(f"frame_{name}")
            group, number = wanted, 1
            while group in groups or group in self._terms.inputs:
                number += 1
                group = numbered(wanted, number)
            groups[group] = name
        if groups or actions.groups:
            page.put("groups", depth=3)
        for group, name in groups.items():
            page.put(group, depth=4)
            self._list(frames[name], 5)
        for group, (keys, note) in actions.groups.items():
            page.put(group, [keys], note, 4)
        by_name = {name: group for group, name in groups.items()}
        only = len(observed) == 1
        page.put("observation" if only else "observations", depth=3)
        for name, drafted in observed.items():
            depth = 4
            if not only:
                page.put(flow(name), depth=4)
                depth = 5
            if name in by_name:
                keys = {"group": by_name[name], "history": drafted.history}
                page.put(ELEMENT, Verbatim(flow(keys)), "whole frames, oldest first", depth)
            else:
                self._list(drafted, depth)

    def _list(self, drafted: Drafted, depth: int) -> None:
        for (keys, where), size in zip(drafted.terms, drafted.sizes, strict=True):
            values = f"{size} value{'s' if size != 1 else ''}"
            self._page.put(ELEMENT, Verbatim(flow(keys)), f"{values}; {where}", depth)

    def _actions(self, drafted: ActionDraft) -> None:
        page = self._page
        if self._sides.is_action_named:
            page.put("action_output", self._sides.action.name, depth=3)
        if len(drafted.actions) == 1:
            keys, where = drafted.actions[0]
            if keys:
                page.put("action", keys, where, 3)
            return
        page.put("actions", depth=3)
        for keys, where in drafted.actions:
            page.put(ELEMENT, Verbatim(flow(keys)), where, 4)


def _is_number(end: str) -> bool:
    """Of a name that was taken before: empty, or _2, _3, …"""
    return not end or (end[0] == "_" and end[1:].isdigit())
