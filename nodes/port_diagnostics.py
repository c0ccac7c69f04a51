"""The inputs and outputs of a loop in the words of /diagnostics: one DiagnosticStatus each."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus

from rtloop.ports.condition import Condition
from rtloop.run import Run
from rtloop.telemetry.observe.inputs import InputWindow

from .status import OK, WARN, Threshold, status


class PortDiagnostics:
    """The ports of a loop of one activation; each look tells of the time since the one before."""

    def __init__(self, node: str, run: Run, loop: str) -> None:
        """``node`` is its fully qualified name."""
        self._name = f"{node}: {loop}"
        self._links = run.config.links
        self._config = run.config.loops[loop]
        self._loop = run.loops[loop]
        self._inputs = run.observed[loop].inputs
        self._before: dict[str, Mapping[str, Any]] = {}
        """By the name of the status: what its port said of itself at the look before."""
        self._told: dict[str, str] = {}
        """The same names, and the devices behind them."""

    def statuses(self, stale: Threshold) -> list[DiagnosticStatus]:
        """Every input, and every output whose port says something of itself."""
        windows = self._inputs.take()
        inputs = [self._input(window, stale) for window in windows]
        told = [*inputs, *self._outputs({window.name for window in windows})]
        self._told = {one.name: one.hardware_id for one in told}
        return told

    def at_rest(self, message: str) -> list[DiagnosticStatus]:
        """The same while nothing runs: an aggregator makes an error of one that is not told of any more."""
        return [status(name, OK, message, {}, device) for name, device in self._told.items()]

    def _input(self, window: InputWindow, stale: Threshold) -> DiagnosticStatus:
        name = f"{self._name}.{window.name}"
        port = self._loop.input_ports.get(window.name)
        if port is None:  # the answers of a Python function
            return input_status(name, window, stale)
        before = self._before.get(name, {})
        why = ""
        if window.age_ns < 0:
            why = port.awaits
        elif window.stale:
            why = port.why_stale(before)
        condition = port.condition(before)
        self._before[name] = condition.values
        device = self._config.inputs[window.name].hardware_id(self._links)
        return input_status(name, window, stale, device, condition, why)

    def _outputs(self, taken: Container[str]) -> Iterator[DiagnosticStatus]:
        """OK, or WARN with what is wrong; and what the file leaves to be known, in the words of `check`.

        One that is called as an input is, which ``taken`` has, says that it is the output.
        """
        for output, port in self._loop.output_ports.items():
            name = f"{self._name}.{output}{' (output)' if output in taken else ''}"
            condition = port.condition(self._before.get(name, {}))
            if not condition.values:
                continue
            self._before[name] = condition.values
            section = self._config.outputs[output]
            told = "; ".join([*condition.warnings, *section.notes(output)]) or "in order"
            level = WARN if condition.warnings else OK
            yield status(name, level, told, condition.values, section.hardware_id(self._links))


def input_status(
    name: str,
    window: InputWindow,
    threshold: Threshold,
    device: str = "",
    condition: Condition | None = None,
    why: str = "",
) -> DiagnosticStatus:
    """What the cycles found of an input; beside it how its port is, and ``why`` no fresh sample comes."""
    level = threshold.level(window.stale, window.cycles)
    found = []
    if window.age_ns < 0:
        level, found = max(level, WARN), ["no sample yet"]
    elif window.cycles == 0:
        found = ["no cycle has read it since"]
    if window.stale:
        found.append(f"stale in {window.stale} of {window.cycles} cycles")
    if window.gaps:
        found.append(f"{window.gaps} samples were lost on the way")
    found = found or ["fresh"]
    condition = condition or Condition()
    if condition.warnings:
        level = max(level, WARN)
        found += [text for text in condition.warnings if text not in why]
    values = {
        **condition.values,
        "rate_hz": window.rate_hz,
        "age_ms": None if window.age_ns < 0 else window.age_ns / 1e6,
        "age_max_ms": None if window.age_max_ns < 0 else window.age_max_ns / 1e6,
        "gaps": window.gaps,
        "stale": window.stale,
        "cycles": window.cycles,
    }
    message = "; ".join(found)
    return status(name, level, f"{message}. {why}" if why else message, values, device)
