"""LEAPP bundles: the loop around one is its inputs and outputs; the rest the bundle says itself."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from fractions import Fraction
from itertools import chain, count
from pathlib import Path

from rtloop.config.values import VECTOR_SIZE_MAX
from rtloop.errors import ConfigError
from rtloop.policy.importing.actions import OutputDraft
from rtloop.policy.importing.loop_page import Anchors, put_head, put_inputs, put_outputs, put_rate
from rtloop.policy.importing.names import Names
from rtloop.policy.importing.page import ELEMENT, Page, Verbatim, flow
from rtloop.policy.importing.readings import QUATERNION, section_name
from rtloop.policy.importing.terms import InputDraft
from rtloop.policy.importing.training import Told
from rtloop.policy.leapp.binding import NAMES, contradicts, input_names, target_names
from rtloop.policy.leapp.bundle import Bundle, BundleTensor, Port, read_bundle


def write_bundle(path: Path, folder: Path, names: Names) -> str:
    """The YAML of a loop around a bundle, for a file in ``folder``. Raises ConfigError.

    ``names`` gives inputs and outputs other names than those that are made up.
    """
    bundle = read_bundle(path)
    inputs, bound = _inputs(bundle, names)
    terms = {
        ".".join(port): _term(bundle, port, name)
        for port, name in bound.items()
        if bundle.input(port).steps > 1
        or next((n for n in input_names(bundle.input(port)) if n in inputs), None) != name
    }
    outputs = _outputs(bundle, names)
    names.refuse_unused()
    page = Page()
    put_head(page, [path.name], section_name(path.stem), [*_histories(bundle), *_guesses(bundle)])
    put_rate(page, _period(bundle))
    anchors: Anchors = {}
    if inputs:
        anchors = put_inputs(page, inputs)
    else:
        page.put("inputs", {}, "all that the bundle reads it writes itself", 2)
    page.put("policy", depth=2)
    listed = ", ".join(bundle.models)
    page.put("leapp", os.path.relpath(path.absolute(), folder.absolute()), f"runs {listed}", 3)
    if terms:
        page.put("observations", depth=3)
        for key, term in terms.items():
            page.put(flow(key), depth=4)
            page.put(ELEMENT, Verbatim(flow(term)), depth=5)
    if bundle.returned or not bundle.outputs:
        actions = [_action(bundle, port) for port in _commanded(bundle)]
        page.put("actions", depth=3)
        for action in actions:
            page.put(ELEMENT, Verbatim(flow(action)), depth=4)
    measured = {
        name: inputs[name]
        for port, name in bound.items()
        if bundle.input(port).kind == "state/joint/position"
    }
    put_outputs(page, outputs, measured, {}, anchors)
    return str(page)


def _commanded(bundle: Bundle) -> tuple[Port, ...]:
    """What the outputs of the loop take; a guess where nothing leaves the bundle, nor is a command."""
    return bundle.commanded or (bundle.answers[-1],)


def _action(bundle: Bundle, port: Port) -> dict[str, object]:
    keys: dict[str, object] = {"output": ".".join(port)}
    if (elements := target_names(bundle, port)) is not None:
        keys["to"] = list(elements)
    return keys


def _guesses(bundle: Bundle) -> Iterator[str]:
    if not bundle.outputs:
        listed = ", ".join(".".join(port) for port in _commanded(bundle))
        yield (
            "all outputs of the bundle flow back to its inputs, and it does not tell which is commanded: "
            f"{listed} is a guess"
        )
        return
    for port in bundle.returned:
        yield (
            f"{'.'.join(port)}{bundle.output(port).told}, flows back and does not leave the bundle: that it "
            "is commanded, too, is a guess"
        )


def _histories(bundle: Bundle) -> Iterator[str]:
    for port in bundle.inputs:
        tensor = bundle.input(port)
        if tensor.steps > 1:
            after = "" if tensor.step_ms is None else f", {tensor.step_ms:g} ms apart"
            if _apart(bundle, port) is None:
                after += f", no multiple of the period at {bundle.frequency_hz:g} Hz"
            yield (
                f"{'.'.join(port)} holds {tensor.steps} steps{after}: that the oldest is the first, and that "
                "the first observation stands for steps before it, is a guess (history)"
            )


def _period(bundle: Bundle) -> Told[Fraction] | None:
    """How often it runs: as it says, or as often as its inputs have steps."""
    if bundle.frequency_hz is not None:
        rate = Fraction(repr(bundle.frequency_hz))
        return Told(1 / rate, f"{bundle.path.name}: pipeline.configs.frequency")
    told = {bundle.input(port).step_ms: port for port in bundle.inputs} | {None: None}
    steps = [(ms, port) for ms, port in told.items() if ms is not None]
    if len(steps) != 1:
        return None
    (ms, port), *_ = steps
    where = f"{bundle.path.name}: {'/'.join(port)}, temporal_period_ms" if port else ""
    return Told(Fraction(repr(ms)) / 1000, where)


def _term(bundle: Bundle, port: Port, name: str) -> dict[str, object]:
    """What an input of the bundle observes of one of the loop: its elements by their names."""
    tensor, apart = bundle.input(port), _apart(bundle, port) or 1
    keys: dict[str, object] = {"input": name}
    if tensor.element_names is not None:
        keys["select"] = list(tensor.element_names)
    if tensor.steps > 1 and (tensor.is_interleaved or apart > 1):
        steps = list(range(apart * (tensor.steps - 1), -1, -apart))
        interleave = {"interleave": True} if tensor.is_interleaved else {}
        keys["history"] = {"steps": steps, **interleave}
    elif tensor.steps > 1:
        keys["history"] = tensor.steps
    return keys


def _apart(bundle: Bundle, port: Port) -> int | None:
    """How many cycles lie between the steps of an input; None where these are no whole number."""
    step_ms, rate_hz = bundle.input(port).step_ms, bundle.frequency_hz
    if step_ms is None or rate_hz is None:
        return 1
    cycles = Fraction(repr(step_ms)) * Fraction(repr(rate_hz)) / 1000
    return int(cycles) if cycles.denominator == 1 else None


def _inputs(bundle: Bundle, names: Names) -> tuple[dict[str, InputDraft], dict[Port, str]]:
    """The loop's inputs, and which of them each input of the bundle is."""
    inputs: dict[str, InputDraft] = {}
    first: dict[str, BundleTensor] = {}  # by what an input would be called
    chosen: dict[Port, str] = {}
    for port in bundle.inputs:
        tensor = bundle.input(port)
        wanted = next((w for w, other in first.items() if _is_same(other, tensor)), None)
        if wanted is None:
            called = NAMES[tensor.kind] if contradicts(tensor) else tensor.name
            wanted = _free(section_name(called), port, first)
            first[wanted] = tensor
        name = chosen[port] = names.of(wanted)
        there = inputs.get(name)
        if there is None:
            where = f"{bundle.path.name}: {'/'.join(port)}{tensor.told}"
            inputs[name] = _drafted(tensor, where)
        elif there.names is not None and tensor.element_names is not None:
            there.names = tuple(dict.fromkeys((*there.names, *tensor.element_names)))
            there.size = len(there.names)
    return inputs, chosen


def _free(wanted: str, port: Port, taken: Container[str]) -> str:
    """A name that nothing else has."""
    longer = section_name("_".join(port))
    numbered = (f"{longer[:28]}_{number}" for number in count(2))
    return next(name for name in chain((wanted, longer), numbered) if name not in taken)


def _drafted(tensor: BundleTensor, where: str) -> InputDraft:
    size = tensor.size // tensor.steps
    if size > VECTOR_SIZE_MAX:
        raise ConfigError(
            f"{where}: found {size} values; expected at most {VECTOR_SIZE_MAX}, the longest vector that a "
            "loop reads"
        )
    is_turn = size == 4 and tensor.kind.endswith("/rotation")
    todo = "the quaternion in the order in which the policy was trained" if is_turn else ""
    return InputDraft(size, QUATERNION if is_turn else None, tensor.element_names, where, todo)


def _is_same(there: BundleTensor, tensor: BundleTensor) -> bool:
    """Whether one input of the loop can be both: by name and kind, and the names or number of the elements."""
    if there.name != tensor.name or (there.kind and tensor.kind and there.kind != tensor.kind):
        return False
    if there.element_names is not None and tensor.element_names is not None:
        return True
    size = there.size // there.steps == tensor.size // tensor.steps
    return there.element_names == tensor.element_names and size


def _outputs(bundle: Bundle, names: Names) -> dict[str, OutputDraft]:
    outputs: dict[str, OutputDraft] = {}
    taken: set[str] = set()
    for port in _commanded(bundle):
        tensor = bundle.output(port)
        wanted = _free(NAMES.get(tensor.kind) or section_name(tensor.name), port, taken)
        taken.add(wanted)
        where = f"{bundle.path.name}: {'/'.join(port)}{tensor.told}"
        elements = target_names(bundle, port)
        is_position = tensor.kind == "target/joint/position"
        outputs[names.of(wanted)] = OutputDraft(tensor.size, elements, is_position, where)
    return outputs
