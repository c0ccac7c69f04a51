"""Which of a loop's policies acted, and when another took over."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rtloop.telemetry.observe import records as rec
from rtloop.telemetry.observe.records import Records
from rtloop.telemetry.observe.ring import LoopMetadata

#: Of more, the newest are told.
MOST: Final = 100
UNKNOWN: Final = "?"
"""In place of a policy whose cycles were lost, or whose selector was not read."""

_SWITCHED = rec.EVENT_BITS["switched"]


@dataclass(frozen=True)
class PolicySwitch:
    """In the cycle ``cycle`` another policy took over. ``at_s``: that many nominal periods, in s."""

    cycle: int
    at_s: float
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.at_s:.3f} s {self.before} → {self.after}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> PolicySwitch:
        """The inverse. Raises KeyError, TypeError, ValueError."""
        return cls(int(raw["cycle"]), float(raw["at_s"]), str(raw["before"]), str(raw["after"]))


class Switches:
    """Follows the records: in a cycle with the event ``switched`` the selector is the policy that took over."""

    def __init__(self, metadata: LoopMetadata) -> None:
        policies, selector = metadata.run.get("policies"), metadata.run.get("selector")
        self._policies = [str(name) for name in policies] if isinstance(policies, list) else []
        self._selector = selector if isinstance(selector, int) else -1
        self._period_ns = metadata.period_ns
        self.acting = self._policies[0] if self._policies else ""
        """The policy that acts; empty of a loop with one."""
        self._newest: deque[PolicySwitch] = deque(maxlen=MOST)

    def resume(self, told: Iterable[PolicySwitch]) -> None:
        """Goes on after what another observer has told."""
        self._newest.extend(told)
        if self._newest:
            self.acting = self._newest[-1].after

    def update(
        self, records: Records, inputs: npt.NDArray[np.float32] | None, lost: int = 0
    ) -> None:
        """Follows a batch of cycles, and their ``inputs``, float32 [n, elements of all inputs]."""
        if not self._policies:
            return
        if lost:
            self.acting = UNKNOWN
        for row in np.flatnonzero(records["events"] & _SWITCHED):
            cycle = int(records["cycle"][row])
            after = UNKNOWN if inputs is None else self._selected(inputs[row])
            self._newest.append(
                PolicySwitch(cycle, cycle * self._period_ns / 1e9, self.acting, after)
            )
            self.acting = after

    def newest(self) -> tuple[PolicySwitch, ...]:
        return tuple(self._newest)

    def _selected(self, inputs: npt.NDArray[np.float32]) -> str:
        number = float(inputs[self._selector]) if 0 <= self._selector < len(inputs) else -1.0
        known = number.is_integer() and 0 <= number < len(self._policies)
        return self._policies[int(number)] if known else UNKNOWN
