"""rtloop: control loops that must be on time and that contain machine-learned policies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtloop.config import (
        Config,
        LimitConfig,
        LinkConfig,
        LoopConfig,
        PolicyConfig,
        RealtimeConfig,
        RecordingConfig,
        load,
        loads,
    )
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
    from rtloop.telemetry.mcap.reader import open_recording
    from rtloop.telemetry.observe.summary import LoopSummary, RunSummary

__version__ = "0.1.0"

__all__ = [
    "Config",
    "ConfigError",
    "HostRefusedError",
    "LimitConfig",
    "LinkConfig",
    "LinkError",
    "Loop",
    "LoopConfig",
    "LoopSummary",
    "PolicyConfig",
    "RealtimeConfig",
    "RecordingConfig",
    "RecordingError",
    "RtloopError",
    "Run",
    "RunSummary",
    "StoppedError",
    "load",
    "loads",
    "open_recording",
]

_HOMES = {
    "Config": "config",
    "LimitConfig": "config",
    "LinkConfig": "config",
    "LoopConfig": "config",
    "PolicyConfig": "config",
    "RealtimeConfig": "config",
    "RecordingConfig": "config",
    "load": "config",
    "loads": "config",
    "Loop": "loop",
    "Run": "run",
    "open_recording": "telemetry.mcap.reader",
    "LoopSummary": "telemetry.observe.summary",
    "RunSummary": "telemetry.observe.summary",
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


def __dir__() -> list[str]:
    # What an editor and a notebook offer, before any of it was loaded.
    return sorted({*globals(), *__all__})
