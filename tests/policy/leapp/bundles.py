"""LEAPP bundles as its exporter lays them out, written without it: ONNX, YAML and safetensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import yaml

Array = npt.NDArray[Any]


def tensor(
    name: str, shape: Sequence[int], dtype: str = "float32", **semantics: Any
) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": list(shape), "type": "tensor", **semantics}


class BundleMaker:
    """Collects models and flows, and writes them."""

    def __init__(self, folder: Path, name: str = "bundle") -> None:
        self.folder, self.name = folder, name
        self.data: dict[str, Any] = {
            "models": {},
            "pipeline": {"data_flow": {}, "feedback_flow": {}, "inputs": {}, "outputs": {}},
            "system information": {"leapp config version": "1.3", "leapp version": "0.7.2"},
        }

    @property
    def pipeline(self) -> dict[str, Any]:
        return self.data["pipeline"]  # type: ignore[no-any-return]

    def model(
        self,
        name: str,
        data: bytes,
        inputs: Sequence[dict[str, Any]],
        outputs: Sequence[dict[str, Any]],
    ) -> None:
        (self.folder / f"{name}.onnx").write_bytes(data)
        self.data["models"][name] = {
            "inputs": list(inputs),
            "outputs": list(outputs),
            "parameters": {
                "model_path": f"{name}.onnx",
                "md5sum": hashlib.md5(data).hexdigest(),
                "sha256sum": hashlib.sha256(data).hexdigest(),
                "backend": "onnx",
                "warp_segments": 0,
                "opset_version": 20,
            },
        }

    def initial(self, values: Mapping[str, Array]) -> None:
        self.pipeline["initial_values"] = f"{self.name}_initial_values.safetensors"
        (self.folder / self.pipeline["initial_values"]).write_bytes(safetensors(values))

    def write(self) -> Path:
        path = self.folder / f"{self.name}.yaml"
        path.write_text(yaml.dump(self.data, sort_keys=False))
        return path


def safetensors(values: Mapping[str, Array]) -> bytes:
    """The bytes of such a file."""
    types = {
        "float32": "F32",
        "float64": "F64",
        "float16": "F16",
        "int64": "I64",
        "int32": "I32",
        "bool": "BOOL",
    }
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, value in values.items():
        end = len(body) + value.nbytes
        header[name] = {
            "dtype": types[value.dtype.name],
            "shape": list(value.shape),
            "data_offsets": [len(body), end],
        }
        body += value.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body


class Reference:
    """Runs a bundle node by node in onnxruntime, as LEAPP's InferenceManager does."""

    def __init__(self, maker: BundleMaker, initial: Mapping[str, Array] | None = None) -> None:
        self._models = maker.data["models"]
        self._pipeline = maker.pipeline
        self._sessions = {
            name: onnxruntime.InferenceSession(
                (maker.folder / f"{name}.onnx").read_bytes(), providers=["CPUExecutionProvider"]
            )
            for name in self._models
        }
        self._values = {
            f"{name}/{t['name']}": np.zeros(t["shape"], t["dtype"])
            for name, model in self._models.items()
            for t in model["inputs"]
        } | dict(initial or {})

    def fed(self, target: str) -> Array:
        """What an input of a model holds by now."""
        return self._values[target]

    def step(self, inputs: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
        """By ``MODEL/TENSOR``."""
        for key, value in inputs.items():
            there = self._values[key]
            self._values[key] = np.asarray(value, there.dtype).reshape(there.shape)
        left = {}
        for name, model in self._models.items():
            feeds = {t["name"]: self._values[f"{name}/{t['name']}"] for t in model["inputs"]}
            answers = self._sessions[name].run([t["name"] for t in model["outputs"]], feeds)
            for described, value in zip(model["outputs"], answers, strict=True):
                source = f"{name}/{described['name']}"
                for flow in ("data_flow", "feedback_flow"):
                    for target in self._pipeline[flow].get(source, []):
                        self._values[target] = value
                if described["name"] in self._pipeline["outputs"].get(name, []):
                    left[source] = value
        return left
