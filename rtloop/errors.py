"""The errors a user can meet. Each carries the exit code that the command line ends with."""


class RtloopError(Exception):
    """Base of every error rtloop raises on purpose: the message says what to do next."""

    exit_code = 1


class ConfigError(RtloopError):
    """The configuration, or a file it names, is wrong: nothing was started."""

    exit_code = 2


class HostRefusedError(RtloopError):
    """A demanded real-time right was not granted (``on_denied: fail``)."""

    exit_code = 3


class StoppedError(RtloopError):
    """A stop was asked for before the first cycle: no loop ran, and no device was commanded."""

    exit_code = 4


class LinkError(RtloopError):
    """The microcontroller link could not be opened, agreed on, or kept."""


class RecordingError(RtloopError):
    """A recording could not be written, read or restored."""
