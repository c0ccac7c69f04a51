"""LEAPP bundles: the loop around one is its inputs and outputs; the rest the bundle says itself."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

from rtloop.policy.importing.actions import OutputDraft
from rtloop.policy.importing.loop_page import put_head, put_inputs, put_outputs, put_rate
from rtloop.policy.importing.names import Names
from rtloop.policy.importing.page import ELEMENT, Page, Verbatim, flow
from rtloop.policy.importing.readings import QUATERNION, section_name
from rtloop.policy.importing.terms import InputDraft
from rtloop.policy.importing.training import Told
from rtloop.policy.leapp.binding import NAMES, input_names, target_names
from rtloop.policy.leapp.bundle import Bundle, BundleTensor, Port, read_bundle


def write_bundle(path: Path, folder: Path, names: Names) -> str:
    """The YAML of a loop around a bundle, for a file in ``folder``. Raises ConfigError.

    ``names`` gives inputs and outputs other names than those that are made up.
    """
    bundle = read_bundle(path)
    inputs, bound = _inputs(bundle, names)
    terms = {
        ".".join(port): name
        for port, name in bound.items()
        if next((n for n in input_names(bundle.input(port)) if n in inputs), None) != name
    }
    outputs = _outputs(bundle, names)
    names.refuse_unused()
    page = Page()
    guessed = [] if bundle.outputs else [bundle.answers[-1]]
    todos = [
        "all outputs of the bundle flow back to its inputs, and it does not tell which is commanded: "
        f"{'.'.join(port)} is a guess"
        for port in guessed
    ]
    put_head(page, [path.name], section_name(path.stem), todos)
    period = None
    if bundle.frequency_hz is not None:
        rate = Fraction(repr(bundle.frequency_hz))
        period = Told(1 / rate, f"{path.name}: pipeline.configs.frequency")
    put_rate(page, period)
    anchors = put_inputs(page, inputs)
    page.put("policy", depth=2)
    listed = ", ".join(bundle.models)
    page.put("leapp", os.path.relpath(path.absolute(), folder.absolute()), f"runs {listed}", 3)
    if terms:
        page.put("observations", depth=3)
        for key, name in terms.items():
            page.put(flow(key), depth=4)
            page.put(ELEMENT, Verbatim(flow({"input": name})), depth=5)
    for port in guessed:
        keys: dict[str, object] = {"output": ".".join(port)}
        if (elements := target_names(bundle, port)) is not None:
            keys["to"] = list(elements)
        page.put("action", keys, depth=3)
    measured = next(
        (
            (name, inputs[name])
            for port, name in bound.items()
            if bundle.input(port).kind == "state/joint/position"
        ),
        None,
    )
    put_outputs(page, outputs, measured, {}, anchors)
    return str(page)


def _inputs(bundle: Bundle, names: Names) -> tuple[dict[str, InputDraft], dict[Port, str]]:
    """The loop's inputs, and which of them each input of the bundle is."""
    inputs: dict[str, InputDraft] = {}
    chosen: dict[Port, str] = {}
    for port in bundle.inputs:
        tensor = bundle.input(port)
        wanted = section_name(tensor.name)
        name = names.of(wanted)
        there = inputs.get(name)
        if there is not None and not _is_same(there, tensor):
            wanted = section_name("_".join(port))
            name = names.of(wanted)
            there = None
        chosen[port] = name
        if there is None:
            where = f"{bundle.path.name}: {'/'.join(port)}{_told(tensor)}"
            inputs[name] = _drafted(tensor, where)
        elif there.names is not None and tensor.element_names is not None:
            there.names = tuple(dict.fromkeys((*there.names, *tensor.element_names)))
            there.size = len(there.names)
    return inputs, chosen


def _drafted(tensor: BundleTensor, where: str) -> InputDraft:
    is_turn = tensor.size == 4 and tensor.kind.endswith("/rotation")
    todo = "the quaternion in the order in which the policy was trained" if is_turn else ""
    return InputDraft(
        tensor.size, QUATERNION if is_turn else None, tensor.element_names, where, todo
    )


def _is_same(there: InputDraft, tensor: BundleTensor) -> bool:
    """Whether one input of the loop can be both: by the names of the elements, or their number."""
    if there.names is not None and tensor.element_names is not None:
        return True
    return there.names == tensor.element_names and there.size == tensor.size


def _outputs(bundle: Bundle, names: Names) -> dict[str, OutputDraft]:
    outputs: dict[str, OutputDraft] = {}
    for port in bundle.outputs or bundle.answers[-1:]:
        tensor = bundle.output(port)
        wanted = NAMES.get(tensor.kind) or section_name(tensor.name)
        wanted = wanted if wanted not in outputs else section_name("_".join(port))
        where = f"{bundle.path.name}: {'/'.join(port)}{_told(tensor)}"
        elements = target_names(bundle, port)
        is_position = tensor.kind == "target/joint/position"
        outputs[names.of(wanted)] = OutputDraft(tensor.size, elements, is_position, where)
    return outputs


def _told(tensor: BundleTensor) -> str:
    return f", {tensor.kind}" if tensor.kind else ""
