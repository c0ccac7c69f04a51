"""Where the installed onnxruntime wheel keeps its library."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from rtloop.errors import RtloopError


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
