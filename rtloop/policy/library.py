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


#: ROS 2's onnxruntime_vendor has no Python API, with which a policy is tried before it runs.
_MISSING = (
    "onnxruntime is not installed for this Python: pip install onnxruntime "
    "(a libonnxruntime.so alone, such as onnxruntime_vendor's, is not enough)"
)


def onnxruntime_library() -> str:
    """Path of libonnxruntime.so, found without importing onnxruntime. Raises RtloopError."""
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        raise RtloopError(_MISSING)
    found = sorted((Path(spec.origin).parent / "capi").glob("libonnxruntime.so*"))
    if not found:
        raise RtloopError(
            f"{Path(spec.origin).parent} holds no capi/libonnxruntime.so; "
            "reinstall: pip install --force-reinstall onnxruntime"
        )
    return str(found[0])


def import_onnxruntime() -> ModuleType:
    """onnxruntime without its telemetry, which uploads usage events unless it is told not to.

    Raises RtloopError when it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module("onnxruntime")
    except ModuleNotFoundError as error:
        raise RtloopError(_MISSING) from error


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
