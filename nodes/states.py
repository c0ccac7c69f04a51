"""What a LoopNode holds in each state of its lifecycle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from rtloop.run import Run


@dataclass(frozen=True)
class Unconfigured:
    failure: str = ""
    """Why the newest transition failed, which led here, or what went wrong in the loops that it ended; likewise
    in ``Inactive`` and ``Finalized``."""
    run = None
    label = "unconfigured"


@dataclass(frozen=True)
class Inactive:
    """The devices are open, and nothing moves."""

    run: Run
    failure: str = ""
    label = "inactive"


@dataclass(frozen=True)
class Active:
    run: Run
    failure: str = ""
    label = "active"


@dataclass(frozen=True)
class Changing:
    """A transition is under way, in another thread."""

    label: str
    """As rclpy calls the state: ``configuring``."""
    run: Run | None
    """None until there is one."""
    failure: str = ""


@dataclass(frozen=True)
class Finalized:
    failure: str = ""
    run = None
    label = "finalized"


State: TypeAlias = Unconfigured | Inactive | Active | Changing | Finalized
