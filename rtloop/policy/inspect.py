"""Loads a policy and says in plain words what is wrong with it.

The answer a user needs comes before the loop starts: every fault found here is a ConfigError that
names the file, what was found, and what to change.
"""

from __future__ import annotations

import hashlib
import math
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rtloop.config.problem import flow, printable
from rtloop.errors import ConfigError, Finding, Place
from rtloop.policy.trial import FLOAT_TYPES, run_on_trial, why_refused

if TYPE_CHECKING:
    import onnx

#: Min, Max and Mul broadcast as numpy does from here on.
OLDEST_OPSET = 8

#: Values of one input. The observation is a vector; recurrent state and images are larger.
LARGEST_INPUT = 1 << 24

_ACTION_NAMES = ("action", "actions")


@dataclass(frozen=True)
class PolicyTensor:
    """A graph input or output; ``dtype`` is a numpy type name."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    is_finite: bool = True
    """Of an output: whether it has neither NaN nor infinity where all that the policy reads is zero."""

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __str__(self) -> str:
        return f"{self.name!r} {self.dtype}{list(self.shape)}"


@dataclass(frozen=True)
class Policy:
    """A policy that passed every check. ``model`` has the fixed dimensions written into it."""

    model: onnx.ModelProto
    observation: PolicyTensor
    action: PolicyTensor
    state: tuple[tuple[PolicyTensor, PolicyTensor], ...]
    sha256: str
    opset: int


def nowhere(*_keys: str | int) -> Place:
    """The place of a policy that no configuration names."""
    return Place()


def load_policy(
    model: str | Path | bytes,
    state: Mapping[str, str] | None = None,
    fix_dimensions: Mapping[str, int] | None = None,
    *,
    where: Callable[..., Place] = nowhere,
) -> Policy:
    """Reads and checks a policy: a path, or the bytes of an ONNX file.

    ``state`` maps graph inputs to the graph outputs fed back to them; every other input but one
    is refused. ``fix_dimensions`` gives dynamic dimensions their value, by the name of the
    dimension, or as ``<input>[<axis>]`` where it has none. ``sha256`` of the result is that of
    the file as it was given. The policy is run a few times, first on zeros. ``where`` tells for keys of
    the section ``policy``, as ``"model"``, where that stands.

    Raises ConfigError when the policy cannot be used as it is.
    """
    source = _Source("policy" if isinstance(model, bytes) else str(Path(model)), where)
    data = model if isinstance(model, bytes) else _read(Path(model), source)
    proto = _parse(data, source)
    opset = _check_contents(proto, source)
    inputs = _fixed_inputs(proto, dict(fix_dimensions or {}), source)
    outputs = _tried_outputs(proto, inputs, source)
    pairs = _state_pairs(inputs, outputs, dict(state or {}), source)
    observation = _observation(inputs, pairs, source)
    action = _action(outputs, pairs, source)
    return Policy(proto, observation, action, pairs, hashlib.sha256(data).hexdigest(), opset)


def walk_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and every graph nested in its nodes (bodies of If, Loop, Scan)."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from walk_graphs(inner)


@dataclass(frozen=True)
class _Source:
    """Where a policy comes from: its file, and the section that names it."""

    name: str
    where: Callable[..., Place]

    def wrong(self, found: str, expected: str, key: str = "model") -> ConfigError:
        """The error of what was found, at a key of the section."""
        found, expected = printable(found), printable(expected)  # a model may hold any name
        message = f"{self.name}: {found}; {expected}"
        return ConfigError([Finding(message, self.where(key), found, expected)])


def _read(path: Path, source: _Source) -> bytes:
    try:
        kind = path.stat().st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):  # to read it might wait for ever
            raise source.wrong("no regular file", "name an .onnx file")
        return path.read_bytes()
    except FileNotFoundError:
        expected = "`model` is relative to the configuration file"
        raise source.wrong("no such policy file", expected) from None
    except OSError as error:
        found = f"cannot read the policy: {error.strerror}"
        raise source.wrong(found, "name an .onnx file that this user may read") from None


def _parse(data: bytes, source: _Source) -> onnx.ModelProto:
    import onnx

    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except Exception:  # protobuf's DecodeError; importing it by name would need protobuf's stubs
        raise source.wrong(*_not_onnx(data)) from None
    # protobuf accepts an empty file, and some text, as a message without fields.
    if not proto.graph.node:
        if proto.graph.input or proto.graph.output:
            raise source.wrong("a graph without nodes", "export the policy itself, with its layers")
        raise source.wrong(*_not_onnx(data))
    return proto


def _not_onnx(data: bytes) -> tuple[str, str]:
    if data.startswith(b"PK"):
        found = "a zip archive (a PyTorch or stable-baselines3 checkpoint?)"
    elif data.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the policy itself", "run `git lfs pull`"
    elif not data:
        found = "an empty file"
    else:
        found = "something else, or a damaged file"
    return f"not an ONNX model but {found}", "export the policy with torch.onnx.export"


def _check_contents(proto: onnx.ModelProto, source: _Source) -> int:
    import numpy as np
    from onnx import TensorProto, numpy_helper

    opset = max((item.version for item in proto.opset_import if not item.domain), default=0)
    if opset < OLDEST_OPSET:
        raise source.wrong(
            f"opset {opset} is too old, at least {OLDEST_OPSET} is needed",
            "export again with opset_version=17",
        )
    for graph in walk_graphs(proto.graph):
        names: list[object] = [value.name for value in (*graph.input, *graph.output)]
        names += [tensor.name for tensor in graph.initializer]
        for node in graph.node:
            names += (node.name, node.op_type, *node.input, *node.output)
        # protobuf gives the bytes of what is no UTF-8.
        if bad_names := [name for name in names if not isinstance(name, str)]:
            raise source.wrong(f"the name {bad_names[0]!r}, which is no text", "export it again")
        constants = [
            attribute.t
            for node in graph.node
            if node.op_type == "Constant"
            for attribute in node.attribute
            if attribute.name == "value"
        ]
        for tensor in (*graph.initializer, *constants):
            if tensor.data_location == TensorProto.EXTERNAL:
                place = {entry.key: entry.value for entry in tensor.external_data}.get("location")
                raise source.wrong(
                    f"the weights lie in another file ({place!r})",
                    "write one file with onnx.save(onnx.load(path), path, save_as_external_data=False)",
                )
            if tensor.data_type in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16):
                try:
                    bad = int(np.isnan(numpy_helper.to_array(tensor)).sum())
                except (ValueError, TypeError) as error:
                    found = f"weight {tensor.name!r} is damaged ({error})"
                    raise source.wrong(found, "export the policy again") from None
                if bad:
                    raise source.wrong(
                        f"weight {tensor.name!r} contains {bad} NaN",
                        "the training diverged, use an earlier checkpoint",
                    )
    return opset


def _fixed_inputs(
    proto: onnx.ModelProto, fixes: dict[str, int], source: _Source
) -> dict[str, PolicyTensor]:
    """Writes the fixes into the graph's inputs and returns them, now of static shape."""

    for name, value in fixes.items():
        if value < 1:
            found = f"fix_dimensions: {name} is {value}"
            raise source.wrong(found, "it must be at least 1", "fix_dimensions")
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = {}
    dynamic: dict[str, int | str] = {}  # what can be fixed -> a value that is probably right
    for info in proto.graph.input:
        if info.name in weights:
            continue  # how IR versions below 4 declare a weight
        tensor = info.type.tensor_type
        if not info.type.HasField("tensor_type") or not tensor.HasField("shape"):
            raise source.wrong(
                f"input {info.name!r} is not a tensor of known rank",
                "export the policy with an example input",
            )
        for axis, dimension in enumerate(tensor.shape.dim):
            if dimension.HasField("dim_value"):
                continue
            key = dimension.dim_param or f"{info.name}[{axis}]"
            dynamic.setdefault(key, 1 if axis == 0 or "batch" in key.lower() else "<size>")
            dimension.dim_value = fixes.get(key, 0)
        shape = tuple(dimension.dim_value for dimension in tensor.shape.dim)
        dtype = _dtype(tensor.elem_type)
        inputs[info.name] = PolicyTensor(info.name, shape, dtype)

    missing = {key: value for key, value in dynamic.items() if key not in fixes}
    if missing:
        example = f"fix_dimensions: {flow({**fixes, **missing})}"
        raise source.wrong(
            f"dynamic dimension {', '.join(map(repr, missing))}",
            f"a real-time loop needs fixed shapes: add `{example}`, or export without dynamic axes",
            "fix_dimensions" if fixes else "model",
        )
    in_outputs = {
        dimension.dim_param
        for info in proto.graph.output
        for dimension in info.type.tensor_type.shape.dim
    }
    unknown = fixes.keys() - dynamic.keys() - in_outputs
    if unknown:
        there = ", ".join(map(repr, dynamic)) or "none; remove fix_dimensions"
        names = ", ".join(map(repr, sorted(unknown)))
        raise source.wrong(
            f"fix_dimensions names {names}, which the policy does not have",
            f"its dynamic dimensions: {there}",
            "fix_dimensions",
        )
    # What was inferred for the dynamic shapes no longer holds.
    del proto.graph.value_info[:]
    for info in proto.graph.output:
        if info.type.HasField("tensor_type"):
            info.type.tensor_type.ClearField("shape")
    return inputs


def _dtype(element_type: int) -> str:
    """A numpy type name; ONNX has types that numpy has not, and files have numbers that ONNX has not."""
    import onnx

    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(element_type).name)
    except KeyError:
        return f"type {element_type}"


def _tried_outputs(
    proto: onnx.ModelProto, inputs: dict[str, PolicyTensor], source: _Source
) -> dict[str, PolicyTensor]:
    """Outputs with the shapes they really have: shape inference alone gives up on some graphs."""
    for tensor in inputs.values():
        if tensor.dtype not in FLOAT_TYPES:
            raise source.wrong(
                f"input {tensor} cannot be fed",
                f"a policy reads {', '.join(FLOAT_TYPES)}: cast inside the exported module",
            )
        if tensor.size > LARGEST_INPUT:
            raise source.wrong(
                f"input {tensor} has {tensor.size} values",
                f"a policy reads at most {LARGEST_INPUT}: check fix_dimensions and the exporter",
            )
    try:
        outputs = run_on_trial(proto, {name: (t.shape, t.dtype) for name, t in inputs.items()})
    except Exception as error:  # onnxruntime's exceptions share no other base class
        raise source.wrong(*why_refused(str(error))) from None
    for output in outputs:
        if output.is_tensor and output.varies:
            raise source.wrong(
                f"the shape of output {output.name!r} depends on the data ({output.varies})",
                "a real-time loop needs one size in every cycle: export without NonZero, Unique, "
                "Compress, masks or top-k of variable length, or select a fixed number of elements",
            )
        if not output.is_tensor:
            raise source.wrong(f"output {output.name!r} is not a tensor", "rtloop needs one")
    return {o.name: PolicyTensor(o.name, o.shape, o.dtype, o.is_finite) for o in outputs}


def _state_pairs(
    inputs: dict[str, PolicyTensor],
    outputs: dict[str, PolicyTensor],
    state: dict[str, str],
    source: _Source,
) -> tuple[tuple[PolicyTensor, PolicyTensor], ...]:
    pairs = []
    for name, fed_by in state.items():
        for kind, wanted, there in (("input", name, inputs), ("output", fed_by, outputs)):
            if wanted not in there:
                raise source.wrong(
                    f"state names {kind} {wanted!r}, which the policy does not have",
                    f"its {kind}s: {', '.join(map(repr, there))}",
                    "state",
                )
        before, after = inputs[name], outputs[fed_by]
        if (before.shape, before.dtype) != (after.shape, after.dtype):
            raise source.wrong(
                f"state {before} cannot be fed from {after}",
                "both must have the same shape and type",
                "state",
            )
        pairs.append((before, after))
    return tuple(pairs)


def _observation(
    inputs: dict[str, PolicyTensor],
    pairs: tuple[tuple[PolicyTensor, PolicyTensor], ...],
    source: _Source,
) -> PolicyTensor:
    recurrent = {before.name for before, _ in pairs}
    candidates = [tensor for tensor in inputs.values() if tensor.name not in recurrent]
    if len(candidates) != 1:
        listed = ", ".join(map(str, candidates)) or "none"
        raise source.wrong(
            f"exactly one input must be the observation, found {len(candidates)} ({listed})",
            f"name recurrent inputs under `state: {flow({'<input>': '<output>'})}`, "
            "and join the rest into one input when exporting",
        )
    return _as_vector(candidates[0], source)


def _action(
    outputs: dict[str, PolicyTensor],
    pairs: tuple[tuple[PolicyTensor, PolicyTensor], ...],
    source: _Source,
) -> PolicyTensor:
    recurrent = {after.name for _, after in pairs}
    candidates = [tensor for tensor in outputs.values() if tensor.name not in recurrent]
    # A policy that takes its own previous action feeds its only output back.
    candidates = candidates or list(outputs.values())
    if len(candidates) > 1:
        # Exporters of actor-critic policies add the value and the log-probability.
        named = [tensor for tensor in candidates if tensor.name.lower() in _ACTION_NAMES]
        if len(named) != 1:
            raise source.wrong(
                f"one output must be the action, found {len(candidates)} "
                f"({', '.join(map(str, candidates))})",
                "export only the action, name it 'action', or name recurrent outputs under `state`",
            )
        candidates = named
    if candidates[0].dtype not in FLOAT_TYPES:
        raise source.wrong(
            f"the action {candidates[0]} is not a number of type {', '.join(FLOAT_TYPES)}",
            "export continuous actions",
        )
    return _as_vector(candidates[0], source)


def _as_vector(tensor: PolicyTensor, source: _Source) -> PolicyTensor:
    if tensor.size == 0 or sum(length != 1 for length in tensor.shape) > 1:
        raise source.wrong(f"{tensor} is not a single vector", "its shape should be [1, n] or [n]")
    return tensor
