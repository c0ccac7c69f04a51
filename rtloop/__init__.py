"""rtloop: control loops that must be on time and that contain machine-learned policies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtloop.config import Config, load
    from rtloop.errors import (
        ConfigError,
        HostRefusedError,
        LinkError,
        RecordingError,
        RtloopError,
        StoppedError,
    )
    from rtloop.loop import Loop
    from rtloop.run import Run

__version__ = "0.1.0"

__all__ = [
    "Config",
    "ConfigError",
    "HostRefusedError",
    "LinkError",
    "Loop",
    "RecordingError",
    "RtloopError",
    "Run",
    "StoppedError",
    "load",
]

_HOMES = {
    "Config": "config",
    "load": "config",
    "Loop": "loop",
    "Run": "run",
    "ConfigError": "errors",
    "HostRefusedError": "errors",
    "LinkError": "errors",
    "RecordingError": "errors",
    "RtloopError": "errors",
    "StoppedError": "errors",
}


def __getattr__(name: str) -> Any:
    # Lazily: `import rtloop` stays quick, whatever pydantic and onnx cost.
    if name not in _HOMES:
        raise AttributeError(f"module 'rtloop' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"rtloop.{_HOMES[name]}"), name)
