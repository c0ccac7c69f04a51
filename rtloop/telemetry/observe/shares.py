"""How much of a loop's work may come to nothing before the loop has failed.

A share is a count over what could have been counted: of the releases for skipped ones, of the
executed cycles for all others. Releases that slipped away (``on_overrun: slip``) count as skipped
ones. Each share has a limit, from the configuration (``max_share``) or the default of the loop's
class. Whether all of them are kept is asked by console, exit code, report and diagnostics alike.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

_DEFAULTS: Final[dict[str, float | dict[str, float]]] = {
    # The late result of a firm loop is thrown away; that of a soft one is still worth something. For a
    # hard loop the first of either is a failure anyway.
    "missed": {"hard": 0.0, "firm": 0.05, "soft": 0.10},
    "skipped": {"hard": 0.0, "firm": 0.05, "soft": 0.05},
    # Where one cycle in twenty acts on nothing new, the plant drifts on its own.
    "stale": 0.05,
    "held": 0.05,
    # Saturating now and then is control; for most of the time it is not the policy that commands.
    "clamped": 0.5,
    # A healthy line loses none. One in a hundred is a line that is about to fail.
    "dropped": 0.01,
    "refused": 0.01,
}
NAMES: Final = tuple(_DEFAULTS)
#: What is lost here, the (m, k) limit of a loop may allow.
LOST_JOBS: Final = ("missed", "skipped", "held")
#: Long enough that a hiccup of an ordinary machine is not a twentieth of it, short enough that the plant
#: of nobody waits for more; and of slow loops so much that one cycle is no share.
_WINDOW_NS: Final = 10_000_000_000
_WINDOW_RELEASES: Final = 100


def default_limits(loop_class: str) -> dict[str, float]:
    """The limits where nothing was configured, by name."""
    return {
        name: limit if isinstance(limit, float) else limit[loop_class]
        for name, limit in _DEFAULTS.items()
    }


@dataclass(frozen=True)
class Whole:
    """What the shares of a loop are shares of."""

    releases: int
    executed: int
    seen: int
    """Cycles whose records were seen: all that tell of more than whether the deadline was met."""

    def of(self, name: str) -> int:
        return {"skipped": self.releases, "missed": self.executed}.get(name, self.seen)


@dataclass(frozen=True)
class Share:
    """What part of a loop's work came to nothing, 0 to 1, and how much may at most."""

    name: str
    value: float
    limit: float
    window_s: float | None = None
    """Of its worst so many seconds; None for the whole run."""

    @property
    def is_over(self) -> bool:
        return self.value > self.limit

    def __str__(self) -> str:
        of = "releases" if self.name == "skipped" else "cycles"
        when = "" if self.window_s is None else f" in its worst {self.window_s:.3g} s"
        return f"{self.brief} of the {of}{when}, limit {100 * self.limit:.3g} %"

    @property
    def brief(self) -> str:
        """For a line that is redrawn: ``stale 98.2 %``."""
        return f"{self.name} {100 * self.value:.3g} %"


def shares_of(
    counts: Mapping[str, int], whole: Whole, limits: Mapping[str, float]
) -> Iterator[Share]:
    """Every share of a loop, from its counts; these and the limits by the names of ``NAMES``."""
    for name in NAMES:
        of = whole.of(name)
        # Two devices that refuse every command are not more than all.
        yield Share(name, min(1.0, counts[name] / of) if of > 0 else 0.0, limits[name])


def window_releases(period_ns: int) -> int:
    """How many releases of a loop a window has, of those that are judged one by one."""
    return max(_WINDOW_RELEASES, _WINDOW_NS // period_ns)


def window_s(period_ns: int) -> float:
    """And how long it is."""
    return window_releases(period_ns) * period_ns / 1e9
