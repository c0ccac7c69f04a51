"""The installed onnxruntime: its library for the core, its Python API for checks."""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rtloop.errors import RtloopError

if TYPE_CHECKING:
    import onnx


def onnxruntime_library() -> str:
    """Path of libonnxruntime.so, found without importing onnxruntime. Raises RtloopError."""
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        raise RtloopError("onnxruntime is not installed: pip install onnxruntime")
    found = sorted((Path(spec.origin).parent / "capi").glob("libonnxruntime.so*"))
    if not found:
        raise RtloopError(
            f"{Path(spec.origin).parent} holds no capi/libonnxruntime.so; "
            "reinstall: pip install --force-reinstall onnxruntime"
        )
    return str(found[0])


def import_onnxruntime() -> ModuleType:
    """onnxruntime without its telemetry, which uploads usage events unless it is told not to."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return importlib.import_module("onnxruntime")


def session(model: onnx.ModelProto) -> Any:
    """An InferenceSession in one thread, to try a model alone with."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
