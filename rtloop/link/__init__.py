"""The firmware link, host side: open, shake hands, arm, stop. The cycle is in the core."""

from rtloop.link.handshake import LinkInfo
from rtloop.link.link import LatchedError, Link, TermsError
from rtloop.link.messages import DeviceState, DeviceStatus, Reason
from rtloop.link.schema import Schema, SchemaField, parse_schema
from rtloop.link.wire_rate import check_wire_rate

__all__ = [
    "DeviceState",
    "DeviceStatus",
    "LatchedError",
    "Link",
    "LinkInfo",
    "Reason",
    "Schema",
    "SchemaField",
    "TermsError",
    "check_wire_rate",
    "parse_schema",
]
