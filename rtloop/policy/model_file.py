"""Reads the ONNX file of a model and says in plain words what is wrong with it.

The answer a user needs comes before the loop starts: every fault found here is a ConfigError that
names the file, what was found, and what to change.
"""

from __future__ import annotations

import hashlib
import math
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rtloop.config.problem import flow, printable
from rtloop.errors import ConfigError, Finding, Place
from rtloop.policy.trial import BORDER_TYPES, run_on_trial, why_refused

if TYPE_CHECKING:
    from typing import Any

    import numpy.typing as npt
    import onnx

    from rtloop.policy.callable.function import PolicyFunction

#: Min, Max and Mul broadcast as numpy does from here on.
OLDEST_OPSET = 8

#: Values of one input. The observation is a vector; recurrent state and images are larger.
LARGEST_INPUT = 1 << 24


@dataclass(frozen=True)
class PolicyTensor:
    """An input or output of a model; ``dtype`` is a numpy type name."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    is_finite: bool = True
    """Of an output: whether it has neither NaN nor infinity where all that the model reads is zero."""
    at_zeros: npt.NDArray[Any] | None = field(default=None, compare=False, repr=False)
    """Of an output: what it is there."""

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __str__(self) -> str:
        return f"{self.name!r} {self.dtype}{list(self.shape)}"


@dataclass(frozen=True)
class ModelFile:
    """A model that passed every check. ``model`` has the fixed dimensions written into it."""

    model: onnx.ModelProto
    inputs: Mapping[str, PolicyTensor]
    outputs: Mapping[str, PolicyTensor]
    sha256: str
    """Of the file and then those of its weights, in the order of their names."""
    opset: int
    metadata: Mapping[str, str]
    file_sha256: str = ""
    """Of the file alone."""
    notes: tuple[str, ...] = ()
    """What was done to it without being asked."""
    function: PolicyFunction | None = None
    """What answers in place of ``model``, which is empty then."""


def nowhere(*_keys: str | int) -> Place:
    """The place of a model that no configuration names."""
    return Place()


def read_model(
    model: str | Path | bytes,
    fix_dimensions: Mapping[str, int] | None = None,
    constants: Callable[[Mapping[str, PolicyTensor]], Mapping[str, npt.NDArray[Any]]] | None = None,
    *,
    where: Callable[..., Place] = nowhere,
) -> ModelFile:
    """Reads and checks a model: a path, or the bytes of an ONNX file.

    ``fix_dimensions`` gives dynamic dimensions their value, by the name of the dimension, or as
    ``<input>[<axis>]`` where it has none; one of a batch is 1 unless it says otherwise. The hashes of the
    result are those of the files as they were given. The model is run a few times, first on zeros; for its
    inputs, known by then, ``constants`` gives those that are always the same. ``where`` tells for keys of
    its section, as ``"model"``, where that stands.

    Raises ConfigError when the model cannot be used as it is.
    """
    source = Source("policy" if isinstance(model, bytes) else str(Path(model)), where)
    data = model if isinstance(model, bytes) else _read(Path(model), source)
    proto = _parse(data, source)
    digest = hashlib.sha256(data)
    file_sha256 = digest.hexdigest()
    folder = None if isinstance(model, bytes) else Path(model).parent
    for path in _load_weights(proto, folder, source):
        _add(path, digest, source)
    opset = _check_contents(proto, source)
    notes: list[str] = []
    inputs = _fixed_inputs(proto, dict(fix_dimensions or {}), source, notes)
    fixed = {} if constants is None else constants(inputs)
    outputs = _tried_outputs(proto, inputs, fixed, source)
    metadata = {item.key: item.value for item in proto.metadata_props}
    return ModelFile(
        proto, inputs, outputs, digest.hexdigest(), opset, metadata, file_sha256, tuple(notes)
    )


def walk_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and every graph nested in its nodes (bodies of If, Loop, Scan)."""
    yield graph
    for node in graph.node:
        for inner in inner_graphs(node):
            yield from walk_graphs(inner)


def inner_graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that a node holds: branches, and bodies of loops."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


@dataclass(frozen=True)
class Source:
    """Where a policy comes from: its file, and the section that names it."""

    name: str
    where: Callable[..., Place]

    def wrong(self, found: str, expected: str, key: str = "model") -> ConfigError:
        """The error of what was found, at a key of the section."""
        found, expected = printable(found), printable(expected)  # a model may hold any name
        message = f"{self.name}: {found}; {expected}"
        return ConfigError([Finding(message, self.where(key), found, expected)])


def _read(path: Path, source: Source) -> bytes:
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


def _parse(data: bytes, source: Source) -> onnx.ModelProto:
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


def _load_weights(proto: onnx.ModelProto, folder: Path | None, source: Source) -> list[Path]:
    """Brings in the weights that lie in files beside the model: these files, by their names."""
    import onnx

    outside = [t for t in _tensors(proto) if t.data_location == onnx.TensorProto.EXTERNAL]
    if not outside:
        return []
    places = sorted({e.value for t in outside for e in t.external_data if e.key == "location"})
    names = ", ".join(map(repr, places))
    if folder is None:
        found = f"the weights lie in another file ({names})"
        raise source.wrong(found, "give the path of the model: its folder holds them")
    try:
        onnx.external_data_helper.load_external_data_for_model(proto, str(folder))
    except Exception as error:  # of many types
        text = " ".join(str(error).split())
        found = f"the weights lie in another file ({names}), which cannot be read: {text}"
        raise source.wrong(found, f"copy it into the folder of the model, '{folder}'") from None
    return [folder / place for place in places]


def _add(path: Path, digest: hashlib._Hash, source: Source) -> None:
    try:
        with path.open("rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
    except OSError as error:
        found = f"the weights in '{path}' cannot be read: {error.strerror}"
        raise source.wrong(found, "name files that this user may read") from None


def _tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    for graph in walk_graphs(proto.graph):
        yield from graph.initializer
        for node in graph.node:
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)


def _check_contents(proto: onnx.ModelProto, source: Source) -> int:
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
    proto: onnx.ModelProto, fixes: dict[str, int], source: Source, notes: list[str]
) -> dict[str, PolicyTensor]:
    """Writes the fixes into the graph's inputs and returns them, now of static shape."""
    for name, value in fixes.items():
        if value < 1:
            found = f"fix_dimensions: {name} is {value}"
            raise source.wrong(found, "it must be at least 1", "fix_dimensions")
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = {}
    dynamic: dict[str, int | str] = {}  # what can be fixed -> an example of a value
    batches: dict[str, int] = {}  # of them, those of a batch: a loop runs one at a time
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
            dynamic.setdefault(key, "<size>")
            if (axis == 0 and len(tensor.shape.dim) > 1) or "batch" in key.lower():
                batches.setdefault(key, 1)
            dimension.dim_value = fixes.get(key, batches.get(key, 0))
        shape = tuple(dimension.dim_value for dimension in tensor.shape.dim)
        dtype = _dtype(tensor.elem_type)
        inputs[info.name] = PolicyTensor(info.name, shape, dtype)

    notes += [
        f"dimension '{key}' is a batch and was fixed to 1" for key in batches if key not in fixes
    ]
    missing = {key: value for key, value in dynamic.items() if key not in {**batches, **fixes}}
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
    proto: onnx.ModelProto,
    inputs: dict[str, PolicyTensor],
    fixed: Mapping[str, npt.NDArray[Any]],
    source: Source,
) -> dict[str, PolicyTensor]:
    """Outputs with the shapes they really have: shape inference alone gives up on some graphs."""
    for tensor in inputs.values():
        if tensor.dtype not in BORDER_TYPES:
            raise source.wrong(
                f"input {tensor} cannot be fed",
                f"a policy reads {', '.join(BORDER_TYPES)}: cast inside the exported module",
            )
        if tensor.size > LARGEST_INPUT:
            raise source.wrong(
                f"input {tensor} has {tensor.size} values",
                f"a policy reads at most {LARGEST_INPUT}: check fix_dimensions and the exporter",
            )
    try:
        shapes = {name: (t.shape, t.dtype) for name, t in inputs.items() if name not in fixed}
        outputs = run_on_trial(proto, shapes, fixed)
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
    return {
        o.name: PolicyTensor(o.name, o.shape, o.dtype, o.is_finite, o.at_zeros) for o in outputs
    }
