"""A device for hands and tools, without a loop: samples and events out, commands in. It is opened anew when it
was lost, and armed only when somebody says so. In Python, and no control path."""

from rtloop.link.bridge.bridge import Bridge
from rtloop.link.bridge.told import LOST, SILENT, Counts, Listener, Note, Terms

__all__ = ["LOST", "SILENT", "Bridge", "Counts", "Listener", "Note", "Terms"]
