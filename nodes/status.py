"""One DiagnosticStatus, as every node here makes it, and what decides its level."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass(frozen=True)
class Threshold:
    """Shares since the previous message, 0 to 1: a larger one is a warning, an error."""

    warn: float = 0.0
    error: float = 1.0

    def level(self, n: int, of: int) -> bytes:
        """That of ``n`` of so many."""
        share = n / of if of > 0 else 0.0
        level: bytes = ERROR if share > self.error else WARN if share > self.warn else OK
        return level


Thresholds = Mapping[str, Threshold]
"""By ``misses``, ``skipped``, ``stale``."""


def status(
    name: str, level: bytes, message: str, values: Mapping[str, Any], hardware_id: str = ""
) -> DiagnosticStatus:
    """``hardware_id`` is the host's where there is no device; a value that is None is not known."""
    return DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        hardware_id=hardware_id or socket.gethostname(),
        values=[KeyValue(key=key, value=_text(value)) for key, value in values.items()],
    )


def _text(value: Any) -> str:
    if value is None:
        return "n/a"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
