"""Loads a policy and says in plain words what is wrong with it.

The answer a user needs comes before the loop starts: every fault found here is a ConfigError that
names the file, what was found, and what to change.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rtloop.errors import ConfigError
from rtloop.policy.library import import_onnxruntime

if TYPE_CHECKING:
    import onnx

#: Types a policy may use at its border; the composed graph casts from and to float32.
FLOAT_TYPES = ("float32", "float64", "float16")

#: Min, Max and Mul broadcast as numpy does from here on.
OLDEST_OPSET = 8

_ACTION_NAMES = ("action", "actions")


@dataclass(frozen=True)
class PolicyTensor:
    """A graph input or output; ``dtype`` is a numpy type name."""

    name: str
    shape: tuple[int, ...]
    dtype: str

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


def load_policy(
    model: str | Path | bytes,
    state: Mapping[str, str] | None = None,
    fix_dimensions: Mapping[str, int] | None = None,
) -> Policy:
    """Reads and checks a policy: a path, or the bytes of an ONNX file.

    ``state`` maps graph inputs to the graph outputs fed back to them; every other input but one
    is refused. ``fix_dimensions`` gives dynamic dimensions their value, by the name of the
    dimension, or as ``<input>[<axis>]`` where it has none. ``sha256`` of the result is that of
    the file as it was given. The policy is run once, on zeros.

    Raises ConfigError when the policy cannot be used as it is.
    """
    data, source = _read(model)
    proto = _parse(data, source)
    opset = _check_contents(proto, source)
    inputs = _fixed_inputs(proto, dict(fix_dimensions or {}), source)
    outputs = _run_once(proto, inputs, source)
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


def _read(model: str | Path | bytes) -> tuple[bytes, str]:
    if isinstance(model, bytes):
        return model, "policy"
    path = Path(model)
    try:
        return path.read_bytes(), str(path)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such policy file; `model` is relative to the configuration file"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the policy: {error.strerror}") from None


def _parse(data: bytes, source: str) -> onnx.ModelProto:
    import onnx

    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except Exception:  # protobuf's DecodeError; importing it by name would need protobuf's stubs
        raise ConfigError(f"{source}: {_not_onnx(data)}") from None
    # protobuf accepts an empty file, and some text, as a message without fields.
    if not proto.graph.node:
        raise ConfigError(f"{source}: {_not_onnx(data)}")
    return proto


def _not_onnx(data: bytes) -> str:
    if data.startswith(b"PK"):
        found = "a zip archive (a PyTorch or stable-baselines3 checkpoint?)"
    elif data.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the policy itself; run `git lfs pull`"
    elif not data:
        found = "an empty file"
    else:
        found = "something else, or a damaged file"
    return f"not an ONNX model but {found}; export the policy with torch.onnx.export"


def _check_contents(proto: onnx.ModelProto, source: str) -> int:
    import numpy as np
    from onnx import TensorProto, numpy_helper

    opset = max((item.version for item in proto.opset_import if not item.domain), default=0)
    if opset < OLDEST_OPSET:
        raise ConfigError(
            f"{source}: opset {opset} is too old, at least {OLDEST_OPSET} is needed; "
            "export again with opset_version=17"
        )
    for graph in walk_graphs(proto.graph):
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
                raise ConfigError(
                    f"{source}: the weights lie in another file ({place!r}); write one file with "
                    "onnx.save(onnx.load(path), path, save_as_external_data=False)"
                )
            if tensor.data_type in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16):
                bad = int(np.isnan(numpy_helper.to_array(tensor)).sum())
                if bad:
                    raise ConfigError(
                        f"{source}: weight {tensor.name!r} contains {bad} NaN; "
                        "the training diverged, use an earlier checkpoint"
                    )
    return opset


def _fixed_inputs(
    proto: onnx.ModelProto, fixes: dict[str, int], source: str
) -> dict[str, PolicyTensor]:
    """Writes the fixes into the graph's inputs and returns them, now of static shape."""
    import onnx

    for name, value in fixes.items():
        if value < 1:
            raise ConfigError(f"{source}: fix_dimensions: {name} is {value}; it must be at least 1")
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = {}
    dynamic: dict[str, str] = {}  # what can be fixed -> a value that is probably right
    for info in proto.graph.input:
        if info.name in weights:
            continue  # how IR versions below 4 declare a weight
        tensor = info.type.tensor_type
        if not info.type.HasField("tensor_type") or not tensor.HasField("shape"):
            raise ConfigError(
                f"{source}: input {info.name!r} is not a tensor of known rank; "
                "export the policy with an example input"
            )
        for axis, dimension in enumerate(tensor.shape.dim):
            if dimension.HasField("dim_value"):
                continue
            key = dimension.dim_param or f"{info.name}[{axis}]"
            dynamic.setdefault(key, "1" if axis == 0 or "batch" in key.lower() else "<size>")
            dimension.dim_value = fixes.get(key, 0)
        shape = tuple(dimension.dim_value for dimension in tensor.shape.dim)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        inputs[info.name] = PolicyTensor(info.name, shape, dtype)

    missing = {key: value for key, value in dynamic.items() if key not in fixes}
    if missing:
        example = ", ".join(f"{key}: {value}" for key, value in missing.items())
        raise ConfigError(
            f"{source}: dynamic dimension {', '.join(map(repr, missing))}; a real-time loop needs "
            f"fixed shapes: add `fix_dimensions: {{{example}}}`, or export without dynamic axes"
        )
    in_outputs = {
        dimension.dim_param
        for info in proto.graph.output
        for dimension in info.type.tensor_type.shape.dim
    }
    unknown = fixes.keys() - dynamic.keys() - in_outputs
    if unknown:
        there = ", ".join(map(repr, dynamic)) or "none; remove fix_dimensions"
        raise ConfigError(
            f"{source}: fix_dimensions names {', '.join(map(repr, sorted(unknown)))}, "
            f"which the policy does not have; its dynamic dimensions: {there}"
        )
    # What was inferred for the dynamic shapes no longer holds.
    del proto.graph.value_info[:]
    for info in proto.graph.output:
        info.type.tensor_type.ClearField("shape")
    return inputs


def _run_once(
    proto: onnx.ModelProto, inputs: dict[str, PolicyTensor], source: str
) -> dict[str, PolicyTensor]:
    """Outputs with the shapes they really have: shape inference alone gives up on some graphs."""
    import numpy as np

    onnxruntime = import_onnxruntime()

    for tensor in inputs.values():
        if tensor.dtype not in FLOAT_TYPES:
            raise ConfigError(
                f"{source}: input {tensor} cannot be fed; "
                f"a policy reads {', '.join(FLOAT_TYPES)}: cast inside the exported module"
            )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised; its log lines would repeat it
    feed = {tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in inputs.values()}
    names = [info.name for info in proto.graph.output]
    # onnxruntime's exceptions share no base class but Exception.
    try:
        session = onnxruntime.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        values = session.run(names, feed)
    except Exception as error:
        raise ConfigError(f"{source}: {_refusal(str(error))}") from None
    outputs = {}
    for name, value in zip(names, values, strict=True):
        if not isinstance(value, np.ndarray):
            raise ConfigError(f"{source}: output {name!r} is not a tensor; rtloop needs one")
        outputs[name] = PolicyTensor(name, value.shape, value.dtype.name)
    return outputs


def _refusal(message: str) -> str:
    onnxruntime = import_onnxruntime()

    version = onnxruntime.__version__
    opset = re.search(r"official support for domain ai\.onnx is till opset (\d+)", message)
    ir = re.search(r"model IR version: (\d+), max supported IR version: (\d+)", message)
    if opset:
        newest = int(opset.group(1))
        return (
            f"its opset is too new for onnxruntime {version} (newest: {newest}); "
            "export again with opset_version=17, or upgrade onnxruntime"
        )
    if ir:
        return (
            f"its IR version {ir.group(1)} is too new for onnxruntime {version} "
            f"(newest: {ir.group(2)}); export again with opset_version=17, or upgrade onnxruntime"
        )
    return f"onnxruntime {version} cannot run it: {message.strip()}"


def _state_pairs(
    inputs: dict[str, PolicyTensor],
    outputs: dict[str, PolicyTensor],
    state: dict[str, str],
    source: str,
) -> tuple[tuple[PolicyTensor, PolicyTensor], ...]:
    pairs = []
    for name, fed_by in state.items():
        for kind, wanted, there in (("input", name, inputs), ("output", fed_by, outputs)):
            if wanted not in there:
                raise ConfigError(
                    f"{source}: state names {kind} {wanted!r}, which the policy does not have; "
                    f"its {kind}s: {', '.join(map(repr, there))}"
                )
        before, after = inputs[name], outputs[fed_by]
        if (before.shape, before.dtype) != (after.shape, after.dtype):
            raise ConfigError(
                f"{source}: state {before} cannot be fed from {after}: both must have the same "
                "shape and type"
            )
        pairs.append((before, after))
    return tuple(pairs)


def _observation(
    inputs: dict[str, PolicyTensor],
    pairs: tuple[tuple[PolicyTensor, PolicyTensor], ...],
    source: str,
) -> PolicyTensor:
    recurrent = {before.name for before, _ in pairs}
    candidates = [tensor for tensor in inputs.values() if tensor.name not in recurrent]
    if len(candidates) != 1:
        listed = ", ".join(map(str, candidates)) or "none"
        raise ConfigError(
            f"{source}: exactly one input must be the observation, found {len(candidates)} "
            f"({listed}); name recurrent inputs under `state: {{<input>: <output>}}`, "
            "and join the rest into one input when exporting"
        )
    return _as_vector(candidates[0], source)


def _action(
    outputs: dict[str, PolicyTensor],
    pairs: tuple[tuple[PolicyTensor, PolicyTensor], ...],
    source: str,
) -> PolicyTensor:
    recurrent = {after.name for _, after in pairs}
    candidates = [tensor for tensor in outputs.values() if tensor.name not in recurrent]
    # A policy that takes its own previous action feeds its only output back.
    candidates = candidates or list(outputs.values())
    if len(candidates) > 1:
        # Exporters of actor-critic policies add the value and the log-probability.
        named = [tensor for tensor in candidates if tensor.name.lower() in _ACTION_NAMES]
        if len(named) != 1:
            raise ConfigError(
                f"{source}: one output must be the action, found {len(candidates)} "
                f"({', '.join(map(str, candidates))}); export only the action, name it 'action', "
                "or name recurrent outputs under `state`"
            )
        candidates = named
    if candidates[0].dtype not in FLOAT_TYPES:
        raise ConfigError(
            f"{source}: the action {candidates[0]} is not a number of type "
            f"{', '.join(FLOAT_TYPES)}; export continuous actions"
        )
    return _as_vector(candidates[0], source)


def _as_vector(tensor: PolicyTensor, source: str) -> PolicyTensor:
    if tensor.size == 0 or sum(length != 1 for length in tensor.shape) > 1:
        raise ConfigError(
            f"{source}: {tensor} is not a single vector; its shape should be [1, n] or [n]"
        )
    return tensor
