"""What a loop is: a validated schema, read from YAML with errors that name file, line and cure.

``load(path)`` and ``loads(text, name)`` return a frozen ``Config`` or raise
``rtloop.errors.ConfigError`` with everything that is wrong, one problem a line:
``FILE:LINE:COL: where.the.key: found X; expected Y; nearest known key 'Z'``.
The keys are described in docs/configuration.md.
"""

from rtloop.config.devices import with_devices
from rtloop.config.host import host_problems
from rtloop.config.loading import load, loads
from rtloop.config.sections import (
    ActionConfig,
    Config,
    InputConfig,
    LimitConfig,
    LinkConfig,
    LoopConfig,
    ObservationTerm,
    OutputConfig,
    PolicyConfig,
    RealtimeConfig,
    RecordingConfig,
    json_schema,
    per_element,
)

__all__ = [
    "ActionConfig",
    "Config",
    "InputConfig",
    "LimitConfig",
    "LinkConfig",
    "LoopConfig",
    "ObservationTerm",
    "OutputConfig",
    "PolicyConfig",
    "RealtimeConfig",
    "RecordingConfig",
    "host_problems",
    "json_schema",
    "load",
    "loads",
    "per_element",
    "with_devices",
]
