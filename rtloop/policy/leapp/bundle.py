"""The YAML of a LEAPP bundle: models, and what flows between them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtloop.errors import ConfigError
from rtloop.policy.exported_file import Entry, read_yaml
from rtloop.policy.leapp.safetensors import read_safetensors

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
    """One for each value, in their order."""

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __str__(self) -> str:
        told = f", {self.kind}" if self.kind else ""
        return f"'{self.name}' {self.dtype}{list(self.shape)}{told}"


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
    if not inputs:
        raise pipeline["inputs"].wrong("at least one input from outside")
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
    shape = Entry(entry.file, shape, (*entry.keys, "shape")).whole_numbers()
    kind = entry["kind"].text() if "kind" in entry else ""
    names = _names(entry["element_names"], math.prod(shape)) if "element_names" in entry else None
    return BundleTensor(entry["name"].text(), shape, entry["dtype"].text(), kind, names)


def _names(entry: Entry, size: int) -> tuple[str, ...] | None:
    """One name for each value: those of the only axis that has some, or of all such axes, joined."""
    axes = entry.value if isinstance(entry.value, list) else []
    if axes and all(isinstance(axis, str) and axis != _TEMPORAL for axis in axes):
        axes = [axes]
    named = [axis for axis in axes if isinstance(axis, list) and axis]
    joined = tuple("_".join(map(str, names)) for names in product(*named)) if named else ()
    return joined if len(joined) == size and len(set(joined)) == size else None


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
        values[port] = value
    return values
