"""A device offered over ZeroMQ, for supervision and rigs: samples and events for any number of subscribers,
commands from one peer at a time. In Python, and no control path: a packet is handed on, never made up."""

from rtloop.link.gateway.gateway import Gateway

__all__ = ["Gateway"]
