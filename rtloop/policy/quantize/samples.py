"""Inputs that a policy is stepped through: those of a recording of its loop, or of cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rtloop.config import Config
from rtloop.errors import ConfigError
from rtloop.policy.cases import CasesFile
from rtloop.policy.opened import Opened
from rtloop.ports.signal import Signal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

#: Of a recording, cycles from its beginning: as many runs tell what the values range over.
STEPS_MAX = 60_000


@dataclass(frozen=True)
class Samples:
    """Finite inputs of steps, float32 [steps, n], by the loop's input."""

    path: Path
    inputs: Mapping[str, Array]
    commands: Array | None
    """What was commanded in each step, of all outputs, where that is known."""
    steps: int
    in_cycles: bool
    """A step is a cycle of the loop; else a run of the policy."""


class RecordingFile:
    """What a recording has of one loop. Everything that is wrong with it names the file."""

    def __init__(self, path: Path, config: Config, name: str) -> None:
        """Reads all of it. Raises ConfigError, RecordingError."""
        from rtloop.telemetry.mcap.reader import read_recording

        self._path, self._config, self._name = path, config, name
        loops = read_recording(path, signals=True).loops
        if name not in loops:
            listed = ", ".join(f"'{other}'" for other in loops) or "none"
            raise self._wrong(f"loops {listed}", f"'{name}', the loop of {config.path}")
        self._loop = loops[name]
        self._names: dict[str, tuple[str, ...]] = {}
        for signal in self._loop.metadata.inputs:
            key, _, element = signal.name.partition(".")
            self._names[key] = (*self._names.get(key, ()), element)

    @property
    def told(self) -> dict[str, Sequence[Signal]]:
        """The elements of its inputs, as their devices named them."""
        return {key: tuple(map(Signal, names)) for key, names in self._names.items()}

    def samples(self, policy: Opened) -> Samples:
        """From its beginning, for the policy of the loop of that name. Raises ConfigError."""
        import numpy as np

        for key, signals in policy.inputs.items():
            names = tuple(signal.name for signal in signals)
            if self._names.get(key) != names:
                found = _listed(self._names.get(key, ()))
                raise self._wrong(f"input '{key}' of {found}", f"{_listed(names)}, as the loop has")
        values = self._loop.inputs[:STEPS_MAX]
        is_finite = np.isfinite(values).all(axis=1)
        outputs = self._loop.outputs[:STEPS_MAX][is_finite]
        values = values[is_finite]
        if not len(values):
            raise self._wrong("no cycle with finite inputs", "cycles: let the loop run for a while")
        inputs, place = {}, 0
        for key in self._names:
            size = len(self._names[key])
            inputs[key] = np.ascontiguousarray(values[:, place : place + size])
            place += size
        ordered = {key: inputs[key] for key in policy.inputs}
        is_known = outputs.shape[1] == policy.assembled.graph.action.size
        commands = outputs if is_known and np.isfinite(outputs).all() else None
        return Samples(self._path, ordered, commands, len(values), True)

    def _wrong(self, found: str, expected: str) -> ConfigError:
        return ConfigError(f"{self._path}: found {found}; expected {expected}")


def samples_of_cases(file: CasesFile, policy: Opened, every: int) -> Samples:
    """What ``rtloop policy verify`` steps a policy through; its inputs are enough. Raises ConfigError."""
    graph = policy.assembled.graph
    names = {key: [signal.name for signal in signals] for key, signals in policy.outputs.items()}
    many = len(names) > 1
    cases = file.cases(
        {key: [signal.name for signal in signals] for key, signals in policy.inputs.items()},
        {key: graph.tensors[tensor].size for key, tensor in graph.observations.items()},
        graph.tensors[graph.raw_action].size,
        [f"{key}.{name}" if many else name for key, own in names.items() for name in own],
        every,
        inputs_suffice=True,
    )
    return Samples(file.path, cases.inputs, cases.targets, cases.steps, cases.in_cycles)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:4])
    return f"{len(names)} elements ({shown}{', …' if len(names) > 4 else ''})"
