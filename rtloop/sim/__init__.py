"""Time that a simulation tells, in place of the machine's."""

from rtloop.sim.lock_step import LockStep

__all__ = ["LockStep"]
