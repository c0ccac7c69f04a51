"""Which mistake a difference looks like: each known one is tried on the data, and told where it explains it."""

from rtloop.policy.mistakes.hints import Mistakes

__all__ = ["Mistakes"]
