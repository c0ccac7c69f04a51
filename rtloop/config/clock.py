"""The section ``clock`` of a loop that is released by the samples of one of its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import Field

from rtloop.config.problem import Keys, Problem, any_of, milliseconds, unknown
from rtloop.config.section import Section
from rtloop.config.values import Milliseconds, Name, nanoseconds
from rtloop.ports.port import InputSection


class ClockConfig(Section):
    """What releases a loop: the samples of an input, and a time-out where none comes."""

    input: Name = Field(description="the input whose samples release the loop")
    timeout_ms: Milliseconds = Field(
        description="so long after the last sample the loop is released without one, and then once a period; "
        "above the period, and below the command_timeout_ms of a link that the loop commands"
    )

    @property
    def timeout_ns(self) -> int:
        return nanoseconds(self.timeout_ms)

    def told(self) -> str:
        """For people: what releases the loop."""
        return f"paced by input '{self.input}' (time-out {milliseconds(self.timeout_ns)} ms)"

    def rules(
        self, here: Keys, inputs: Mapping[str, InputSection], period_ns: int | None, pace: Keys
    ) -> Iterator[Problem]:
        """Broken rules of the section at ``here``.

        ``period_ns`` is that of the loop, None where it is not known; ``pace`` is the key that says it.
        """
        source = inputs.get(self.input)
        if source is None:
            at = (*here[:-1], "inputs")
            yield unknown((*here, "input"), self.input, "input", list(inputs), at)
        elif not source.can_pace:
            able = [f"'{name}'" for name, other in inputs.items() if other.can_pace]
            among = f" ({any_of(able)})" if able else ""
            expected = (
                f"an input that tells of its samples as they come{among}: one of kind '{source.kind}' is "
                "looked at when the loop runs"
            )
            judged = ((*here[:-1], "inputs", self.input),)
            yield Problem((*here, "input"), expected, judged=judged)
        if period_ns is not None and self.timeout_ns <= period_ns:
            expected = f"more than the period, {milliseconds(period_ns)} ms: each sample would come too late"
            yield Problem((*here, "timeout_ms"), expected, judged=(pace,))
