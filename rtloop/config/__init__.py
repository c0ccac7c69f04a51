"""What a loop is: a validated schema, read from YAML with errors that name file, line and cure.

``load(path)`` and ``loads(text, name)`` return a frozen ``Config`` or raise
``rtloop.errors.ConfigError`` with everything that is wrong, one problem a line:
``FILE:LINE:COL: where.the.key: found X; expected Y; nearest known key 'Z'``.
The keys are described in docs/configuration.md.

From the bottom up: ``values``, ``problem``, ``section`` and ``kinds`` import nothing of rtloop above
them, so that ports and terms can bring their own sections; ``sections``, ``rules`` and ``config``
build on those; ``document``, ``wording`` and ``loading`` read a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtloop.config.clock import ClockConfig
    from rtloop.config.config import Config, json_schema
    from rtloop.config.devices import with_devices
    from rtloop.config.host import host_problems
    from rtloop.config.loading import load, loads
    from rtloop.config.sections import (
        LimitConfig,
        LoopConfig,
        MaxShareConfig,
        RealtimeConfig,
        RecordingConfig,
    )
    from rtloop.config.switch import SwitchConfig
    from rtloop.config.values import per_element
    from rtloop.link.section import LinkConfig, ReconnectConfig
    from rtloop.policy.section import PolicyConfig

__all__ = [
    "ClockConfig",
    "Config",
    "LimitConfig",
    "LinkConfig",
    "LoopConfig",
    "MaxShareConfig",
    "PolicyConfig",
    "RealtimeConfig",
    "ReconnectConfig",
    "RecordingConfig",
    "SwitchConfig",
    "host_problems",
    "json_schema",
    "load",
    "loads",
    "per_element",
    "with_devices",
]

_HOMES = {
    "Config": "rtloop.config.config",
    "json_schema": "rtloop.config.config",
    "with_devices": "rtloop.config.devices",
    "host_problems": "rtloop.config.host",
    "load": "rtloop.config.loading",
    "loads": "rtloop.config.loading",
    "per_element": "rtloop.config.values",
    "LinkConfig": "rtloop.link.section",
    "PolicyConfig": "rtloop.policy.section",
    "ReconnectConfig": "rtloop.link.section",
    "ClockConfig": "rtloop.config.clock",
    "SwitchConfig": "rtloop.config.switch",
}


def __getattr__(name: str) -> Any:
    # Lazily: ports and terms import the modules at the bottom, and are imported by those above.
    if name not in __all__:
        raise AttributeError(f"module 'rtloop.config' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES.get(name, "rtloop.config.sections")), name)
