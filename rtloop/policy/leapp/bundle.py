"""The YAML of a LEAPP bundle: models, and what flows between them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtloop.config.values import VECTOR_SIZE_MAX
from rtloop.errors import ConfigError
from rtloop.policy.exported_file import Entry, read_yaml
from rtloop.policy.leapp.safetensors import read_safetensors
from rtloop.policy.model_file import LARGEST_INPUT

if TYPE_CHECKING:
    import numpy.typing as npt

#: Of "leapp config version".
_VERSION = "1."
_TEMPORAL = "__temporal_axis__"
Port = tuple[str, str]
"""A model of the bundle, and one of its inputs or outputs."""


@dataclass(frozen=True)
class BundleTensor:
    """An input or output of a model; ``dtype`` is a numpy type name."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: str = ""
    """What it is, as ``state/joint/position``; empty where the bundle does not tell."""
    element_names: tuple[str, ...] | None = None
    """One for each value of a step, in their order."""
    steps: int = 1
    """How many steps of a history it holds."""
    step_ms: float | None = None
    """What lies between two of them; None where it holds one, or the bundle does not tell."""
    is_interleaved: bool = False
    """Whether all steps of the first element come first, and not all elements of the first step."""

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def value_names(self) -> tuple[str, ...] | None:
        """One for each value of all steps, in their order; None where they have none."""
        if self.element_names is None or not self.is_interleaved:
            return self.element_names and self.element_names * self.steps
        return tuple(name for name in self.element_names for _ in range(self.steps))

    @property
    def names_of_one_step(self) -> tuple[str, ...] | None:
        """One for each value, where it holds one step: of several, elements have no names of their own."""
        return self.element_names if self.steps == 1 else None

    @property
    def is_command(self) -> bool:
        """Whether it is what an actuator is to do, by its kind."""
        return self.kind.startswith("target/") or self.kind in ("kp", "kd")

    def __str__(self) -> str:
        return f"'{self.name}' {self.dtype}{list(self.shape)}{self.told}"

    @property
    def told(self) -> str:
        """The kind, as it stands behind something else."""
        return f", {self.kind}" if self.kind else ""


@dataclass(frozen=True)
class BundleModel:
    """One model of a bundle."""

    path: Path
    sha256: str
    inputs: Mapping[str, BundleTensor]
    outputs: Mapping[str, BundleTensor]


@dataclass(frozen=True)
class Bundle:
    """A bundle whose flows fit together."""

    path: Path
    models: Mapping[str, BundleModel]
    """In the order in which they run."""
    sources: Mapping[Port, Port]
    """By an input of a model: the output that feeds it. One that runs later feeds the next step."""
    inputs: tuple[Port, ...]
    """What comes from outside."""
    outputs: tuple[Port, ...]
    """What leaves; an output that only flows back is not among them."""
    initial: Mapping[Port, npt.NDArray[Any]] = field(compare=False)
    """What an input holds before its source ran first, where that is not zeros."""
    frequency_hz: float | None = None

    def input(self, port: Port) -> BundleTensor:
        return self.models[port[0]].inputs[port[1]]

    def output(self, port: Port) -> BundleTensor:
        return self.models[port[0]].outputs[port[1]]

    @property
    def returned(self) -> tuple[Port, ...]:
        """Commands, by their kind, that do not leave: nothing takes them but a model that ran before."""
        order = list(self.models)
        forward = {
            begin
            for begin in self.sources.values()
            if all(order.index(end[0]) > order.index(begin[0]) for end in self._fed_by(begin))
        }
        there = {*self.outputs, *forward}
        return tuple(p for p in self.answers if p not in there and self.output(p).is_command)

    @property
    def commanded(self) -> tuple[Port, ...]:
        """What is for the outputs of a loop: what leaves, and commands that do not."""
        return (*self.outputs, *self.returned)

    def _fed_by(self, source: Port) -> list[Port]:
        return [end for end, begin in self.sources.items() if begin == source]

    @property
    def answers(self) -> list[Port]:
        """All outputs of all models."""
        return [(name, tensor) for name, model in self.models.items() for tensor in model.outputs]


def is_bundle(file: Entry) -> bool:
    """Whether these are the keys of a bundle."""
    return "models" in file and "pipeline" in file


def read_bundle(path: Path) -> Bundle:
    """Reads a bundle; its models are not read yet. Raises ConfigError."""
    file = read_yaml(path)
    if not is_bundle(file):
        raise ConfigError(
            f"{path}: found no `models` and `pipeline`; expected the YAML of a LEAPP bundle"
        )
    version = (
        file["system information"]["leapp config version"] if "system information" in file else None
    )
    if version is not None and not str(version.value).startswith(_VERSION):
        raise version.wrong("1.x, the versions that rtloop reads")
    models = {entry.key: _model(entry, path.parent) for entry in file["models"].items()}
    pipeline = file["pipeline"]
    sources: dict[Port, Port] = {}
    for flow in ("data_flow", "feedback_flow"):
        for source in pipeline[flow].items() if flow in pipeline else ():
            for target in source.texts():
                _connect(sources, models, source, target)
    inputs = _ports(pipeline["inputs"], {name: model.inputs for name, model in models.items()})
    outputs = _ports(pipeline["outputs"], {name: model.outputs for name, model in models.items()})
    for port in inputs:
        if port in sources:
            raise pipeline["inputs"].wrong(f"no '{'/'.join(port)}', which a flow feeds")
    unfed = [
        f"{name}/{tensor}"
        for name, model in models.items()
        for tensor in model.inputs
        if (name, tensor) not in sources and (name, tensor) not in inputs
    ]
    if unfed:
        raise pipeline.wrong(f"a flow or an input of the pipeline for {', '.join(unfed)}")
    frequency = None
    if "configs" in pipeline and "frequency" in pipeline["configs"]:
        frequency = pipeline["configs"]["frequency"].positive()
    return Bundle(
        path, models, sources, inputs, outputs, _initial(pipeline, path, models), frequency
    )


def _model(entry: Entry, folder: Path) -> BundleModel:
    parameters = entry["parameters"]
    if parameters["backend"].text() != "onnx":
        raise parameters["backend"].wrong(
            'onnx, which runs without Python: export this node with export_with="onnx"'
        )
    if parameters["warp_segments"].value:
        raise parameters["warp_segments"].wrong("0: a Warp kernel needs an NVIDIA GPU")
    return BundleModel(
        folder / parameters["model_path"].text(),
        parameters["sha256sum"].text(),
        {tensor.name: tensor for tensor in map(_tensor, entry["inputs"].items())},
        {tensor.name: tensor for tensor in map(_tensor, entry["outputs"].items())},
    )


def _tensor(entry: Entry) -> BundleTensor:
    shape = entry["shape"].value
    if isinstance(shape, str):  # as older exporters have it
        with suppress(ValueError):
            shape = json.loads(shape)
    told = Entry(entry.file, shape, (*entry.keys, "shape"))
    shape = told.whole_numbers()
    if not all(length > 0 for length in shape) or math.prod(shape) > LARGEST_INPUT:
        raise told.wrong(f"lengths above 0, and {LARGEST_INPUT} values at most")
    kind = entry["kind"].text() if "kind" in entry else ""
    tensor = BundleTensor(entry["name"].text(), shape, entry["dtype"].text(), kind)
    return _named(tensor, entry) if "element_names" in entry else tensor


def _named(tensor: BundleTensor, entry: Entry) -> BundleTensor:
    """With a name for each value: those of the axes, joined; an axis without names is numbered beside them.

    The axis of the time is none of them: its length is that of a history.
    """
    told = entry["element_names"]
    axes, shape = _axes(told, tensor.shape), tensor.shape
    steps, times = 1, [axis for axis, names in enumerate(axes) if names == _TEMPORAL]
    # Axes of length 1 without names lie anywhere.
    named = [axis for axis, names in enumerate(axes) if isinstance(names, list)]
    unnamed = [a for a, names in enumerate(axes) if names is None and shape[a] > 1]
    is_interleaved = False
    if times:
        steps = shape[times[0]]
        others = [axis for axis in (*named, *unnamed) if shape[axis] > 1]
        is_interleaved = bool(others) and times[0] > max(others)
        if len(times) > 1 or not (is_interleaved or all(times[0] < axis for axis in others)):
            raise told.wrong(f"one {_TEMPORAL}, before all other axes or behind them")
    names = None
    if named and tensor.size <= VECTOR_SIZE_MAX:  # no vector of a loop is longer
        lists = [axes[axis] or map(str, range(shape[axis])) for axis in sorted([*named, *unnamed])]
        names = tuple("_".join(parts) for parts in product(*lists))
        doubled = [name for name in names if names.count(name) > 1]
        if doubled:
            raise told.wrong(f"each name once, not '{doubled[0]}' twice")
    step_ms = entry["temporal_period_ms"].positive() if "temporal_period_ms" in entry else None
    return replace(
        tensor,
        element_names=names,
        steps=steps,
        step_ms=step_ms if times else None,
        is_interleaved=is_interleaved,
    )


def _axes(entry: Entry, shape: Sequence[int]) -> list[Any]:
    """For each axis its names, the word for the time, or None. Raises ConfigError."""
    expected = (
        f"the names of each axis, as [null, [hip, knee]], {list(shape)} in all, or a list of "
        f"{math.prod(shape)} names"
    )
    if not isinstance(entry.value, list):
        raise entry.wrong(expected)
    axes: list[Any] = [axis or None for axis in entry.value]
    if axes and all(isinstance(axis, str) and axis != _TEMPORAL for axis in axes):
        axes = [axes]
    if len(axes) < len(shape):  # those that are not told are the first
        axes = [None] * (len(shape) - len(axes)) + axes
    for axis, length in zip(axes, shape, strict=False):
        is_list = isinstance(axis, list) and len(axis) == length
        is_list = is_list and all(isinstance(name, str) and name for name in axis)
        if axis not in (None, _TEMPORAL) and not is_list:
            raise entry.wrong(expected)
    if len(axes) != len(shape):
        raise entry.wrong(expected)
    return axes


def _connect(
    sources: dict[Port, Port], models: Mapping[str, BundleModel], source: Entry, target: str
) -> None:
    begin, end = _port(source, source.key), _port(source, target)
    there = models[begin[0]].outputs if begin[0] in models else {}
    if begin[1] not in there:
        raise source.wrong(f"an output of a model before '{source.key}'")
    fed = models[end[0]].inputs if end[0] in models else {}
    if end[1] not in fed:
        raise source.wrong(f"inputs of models: there is no '{target}'")
    if end in sources:
        raise source.wrong(f"each input once: '{target}' is fed by '{'/'.join(sources[end])}', too")
    one, other = there[begin[1]], fed[end[1]]
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        raise source.wrong(f"one shape and type on both sides, not {one} and {other}")
    sources[end] = begin


def _port(entry: Entry, text: str) -> Port:
    model, slash, tensor = text.partition("/")
    if not slash or not model or not tensor:
        raise entry.wrong(f"MODEL/TENSOR where there is '{text}'")
    return model, tensor


def _ports(section: Entry, models: Mapping[str, Mapping[str, BundleTensor]]) -> tuple[Port, ...]:
    found = []
    for entry in section.items():
        for name in entry.texts():
            if name not in models.get(entry.key, {}):
                raise entry.wrong(f"tensors of a model: there is no '{entry.key}/{name}'")
            found.append((entry.key, name))
    return tuple(found)


def _initial(
    pipeline: Entry, path: Path, models: Mapping[str, BundleModel]
) -> dict[Port, npt.NDArray[Any]]:
    import numpy as np

    if "initial_values" not in pipeline:
        return {}
    entry = pipeline["initial_values"]
    values = {}
    for key, value in read_safetensors(path.parent / entry.text()).items():
        port = _port(entry, key)
        tensor = models[port[0]].inputs.get(port[1]) if port[0] in models else None
        if tensor is None:
            raise entry.wrong(f"values of inputs of models: there is no '{key}'")
        if (tensor.shape, tensor.dtype) != (value.shape, value.dtype.name):
            raise entry.wrong(f"{tensor}, not {value.dtype.name}{list(value.shape)} of '{key}'")
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise entry.wrong(f"finite values, not those of '{key}'")
        values[port] = value
    return values
