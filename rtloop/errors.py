"""The errors a user can meet: what is wrong, where it stands, and the exit code of the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Place:
    """Where something stands in a configuration: file, line and column (from 1), and ``where.the.key``.

    What is not known is empty or None; ``key`` alone is where a section stands that came from no file.
    """

    file: str = ""
    line: int | None = None
    column: int | None = None
    key: str = ""
    folder: str = field(default="", compare=False, repr=False)
    """Where its configuration looks for Python modules."""

    def __bool__(self) -> bool:
        return bool(self.file or self.key)

    def __str__(self) -> str:
        numbers = [str(number) for number in (self.line, self.column) if number is not None]
        at = ":".join([self.file, *numbers]) if self.file else ""
        return ": ".join(part for part in (at, self.key) if part)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, for people (``str``) and for programs (``as_dict``)."""

    message: str
    """The sentence, without its place: ``found X; expected Y``, with what to do next."""
    place: Place = field(default_factory=Place)
    found: str | None = None
    """What stands there; None where the sentence does not tell it apart."""
    expected: str | None = None
    severity: Literal["error", "warning"] = "error"

    @classmethod
    def of(
        cls,
        place: Place,
        found: str,
        expected: str,
        nearest: str | None = None,
        severity: Literal["error", "warning"] = "error",
    ) -> Finding:
        """``found FOUND; expected EXPECTED; nearest NEAREST``."""
        near = f"; nearest {nearest}" if nearest else ""
        message = f"found {found}; expected {expected}{near}"
        return cls(message, place, found, expected, severity)

    def as_dict(self) -> dict[str, Any]:
        """``line`` and ``column`` from 1, ``file`` and ``key``: null where they are not known."""
        return {
            "file": self.place.file or None,
            "line": self.place.line,
            "column": self.place.column,
            "key": self.place.key or None,
            "found": self.found,
            "expected": self.expected,
            "message": self.message,
            "severity": self.severity,
        }

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


EXIT_CODES = {
    0: "every loop was in control of its plant, as its class and its limits promise; of a check: nothing "
    "would keep it from starting",
    1: "a loop was not (a fault, misses over its limit, more than max_share allows), or an incomplete "
    "recording; also a device that was not there, did not answer, agree or arm, or was lost; a folder, a "
    "ring or a file that could not be made or read; of a verification: the policy does otherwise; of a "
    "quantization: it would be slower or worse; of a ping: more than 1 % got no answer; of a demo: its plant "
    "fell",
    2: "wrong usage or configuration, a wrong policy, or one that is too slow for its loop on this host",
    3: "the host refused a right that was demanded (on_denied: fail)",
    4: "stopped (Ctrl-C, SIGTERM, SIGHUP) before it started: no loop ran, no device was commanded",
}
"""What the command line ends with, whichever command it was."""


class RtloopError(Exception):
    """Base of every error rtloop raises on purpose: the message says what to do next.

    ``findings`` are all that is wrong, one at least; the message is theirs, a line each.
    """

    exit_code = 1

    def __init__(self, what: str | Sequence[Finding] = "") -> None:
        findings = (Finding(what),) if isinstance(what, str) else tuple(what)
        self.findings = findings
        super().__init__("\n".join(map(str, findings)))

    def as_dict(self) -> dict[str, Any]:
        """What ``--json`` prints in place of a result."""
        return {
            "error": str(self),
            "problems": [finding.as_dict() for finding in self.findings],
            "exit_code": self.exit_code,
        }

    def at(self, place: Place) -> Self:
        """The same error; findings that had no place of their own are at ``place``."""
        self.findings = tuple(f if f.place else replace(f, place=place) for f in self.findings)
        self.args = ("\n".join(map(str, self.findings)),)
        return self


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


def raise_all(errors: Iterable[RtloopError]) -> None:
    """Raises nothing, the one error, or one with the findings of all, each once: a ConfigError, if one is."""
    errors = list(errors)
    if len(errors) == 1:
        try:
            raise errors[0]
        finally:
            errors.clear()  # this frame, which the error refers to, must not refer to the error
    if errors:
        first = max(errors, key=lambda error: isinstance(error, ConfigError))
        # A kind from elsewhere may want more to be made of than what is wrong; those of this file do not.
        kinds = (ConfigError, HostRefusedError, LinkError, RecordingError, RtloopError)
        kind = next(kind for kind in kinds if isinstance(first, kind))
        findings = dict.fromkeys(finding for error in errors for finding in error.findings)
        raise kind(list(findings)) from first


def do_each(steps: Iterable[Callable[[], None]]) -> None:
    """Takes every step, also behind one that fails; then raises what they raised, as one error.

    StoppedError, and what is no RtloopError, at once.
    """
    errors: list[RtloopError] = []
    try:
        for step in steps:
            try:
                step()
            except StoppedError:
                raise
            except RtloopError as error:
                errors.append(error)
        raise_all(errors)
    finally:
        errors.clear()  # they refer to this frame, which would keep alive what their frames refer to
