"""Whether a policy does here what it did where it was trained, element by named element."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtloop.config import Config, LoopConfig
from rtloop.config.problem import written
from rtloop.errors import ConfigError, Finding
from rtloop.policy.cases import Cases, CasesFile
from rtloop.policy.compared import Compared, Difference, compare, sent_of
from rtloop.policy.mistakes import Mistakes
from rtloop.policy.opened import Opened, opened, standing
from rtloop.policy.show import PolicyTable
from rtloop.policy.trace import Trace, trace
from rtloop.policy.unseen import Unseen, unseen
from rtloop.ports.command import holds
from rtloop.ports.signal import Signal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

#: Two builds of one network differ by rounding, which a closed loop may amplify; mistakes are larger.
TOLERANCE = 1e-3
#: What two builds of one network differ by in a single step, at most; a closed loop may make more of it.
AMPLIFIED = 1e-5


@dataclass(frozen=True)
class Verification:
    """What came of the comparison."""

    loop: str
    steps: int
    tolerance: float
    compared: tuple[Compared, ...]
    """In the order of cause: what models observe, what the policy answers, what is commanded, and what of
    it would have been sent where outputs have limits."""
    hints: tuple[str, ...]
    """What would explain the differences; tried on the data."""
    ignored: tuple[str, ...]
    """Arrays of the file that nothing was compared with."""
    left_out: tuple[str, ...]
    """Keys that had no effect here."""
    terminations: tuple[tuple[int, str], ...]
    """The steps in which a run would have gone to FAULT, and why; compared was what follows all the same."""
    unseen: Unseen
    """What agrees whatever it is, as the cases do not show it."""
    amplified: float | None = None
    """The largest difference in single steps, where that is rounding, which the loop amplifies; else None."""

    @property
    def agrees(self) -> bool:
        """Whether nothing differs but by rounding that the closed loop amplifies."""
        return self.first is None or self.amplified is not None

    @property
    def first(self) -> Difference | None:
        """The earliest step that differs; within it, the first in the order of cause."""
        firsts = [array.first for array in self.compared if array.first is not None]
        return min(firsts, key=lambda first: first.step, default=None)

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has no number that is not finite: null."""
        told: dict[str, Any] = _finite(self._told())
        return told

    def _told(self) -> dict[str, Any]:
        return {
            "loop": self.loop,
            "agrees": self.agrees,
            "steps": self.steps,
            "tolerance": self.tolerance,
            "first": None if self.first is None else asdict(self.first),
            "compared": {array.name: asdict(array) for array in self.compared},
            "hints": list(self.hints),
            "amplified": self.amplified,
            "ignored": list(self.ignored),
            "left_out": list(self.left_out),
            "terminations": [{"step": step, "reason": told} for step, told in self.terminations],
            **self.unseen.as_dict(),
        }


def verify(config: Config, name: str, path: Path, tolerance: float = TOLERANCE) -> Verification:
    """Steps the policy of the loop ``name`` through the cases of a file, in closed loop, in the core.

    A value agrees that is apart from the expected one by at most ``tolerance``, absolute up to 1 and
    relative above. The policy acts from the first step on: ``start`` and ``fade_in_s`` are left out.
    Raises ConfigError, RtloopError.
    """
    file = CasesFile(path)
    _refuse_runs_alone(config, name, file)
    config, left_out = _acting_at_once(config, name, file.is_in_cycles)
    loop = config.loops[name]
    told = {key: file.names_of(f"in_{key}") for key in loop.inputs}
    signals = {key: tuple(map(Signal, names)) for key, names in told.items() if names}
    policy = opened(config, name, signals)
    _refuse_unnamed(loop, policy, file)
    graph, known = policy.assembled.graph, policy.table
    if graph.call is not None and policy.assembled.runner.external is not None:
        function = graph.call.function  # in each step, as in training: without the cycle of delay
        policy.assembled.runner.external.answer_at_once(function.answer, function.reset)
    cases = file.cases(
        {key: [signal.name for signal in signals] for key, signals in policy.inputs.items()},
        {key: graph.tensors[tensor].size for key, tensor in graph.observations.items()},
        len(known.raw),
        _target_names(policy.outputs),
        loop.policy.every,
        _unread(loop, policy),
    )
    import numpy as np

    first = [cases.inputs[key][0] for key in policy.inputs]
    measured = np.concatenate(first).tolist() if first else []
    every = loop.policy.every if cases.in_cycles else 1
    run = partial(
        trace,
        graph,
        policy.assembled.runner,
        first_command=np.asarray(standing(loop, policy, measured), np.float32),
        steps=cases.steps,
        in_cycles=cases.in_cycles,
    )
    try:
        got = run(inputs=cases.inputs)
        period_s = float(loop.period_s if cases.in_cycles else loop.policy_period_s)
        sent = sent_of(got.targets, known.command, period_s)
        compared = compare(graph, known, cases, got, sent, tolerance)
        hints: tuple[str, ...] = ()
        amplified: float | None = None
        if any(array.first is not None for array in compared):
            set_right = partial(run, raw=cases.raw, targets=cases.targets)
            forced = set_right(inputs=cases.inputs)
            sent = sent_of(forced.targets, known.command, period_s)
            single = compare(graph, known, cases, forced, sent, tolerance)
            amplified = _amplified(cases, compared, single)
            if amplified is None:
                relative = any(action.relative for action in loop.policy.action_terms.values())
                mistakes = Mistakes(
                    policy.policy, known, cases, forced, set_right, tolerance, every, relative
                )
                hints = tuple(mistakes.hints()) or _unexplained(cases, single)
    except RuntimeError as error:
        raise ConfigError(f"loop '{name}' cannot be stepped: {error}") from error
    return Verification(
        loop=name,
        steps=cases.steps,
        tolerance=tolerance,
        compared=compared,
        hints=hints,
        ignored=cases.ignored,
        left_out=left_out,
        terminations=(*got.terminations, *_not_finite(known, got, every)),
        unseen=unseen(known, cases, got),
        amplified=amplified,
    )


def _acting_at_once(config: Config, name: str, in_cycles: bool) -> tuple[Config, tuple[str, ...]]:
    """The same, but for what a machine does until its policy acts, and between its runs where the cases have
    only those: no training has it. And those keys."""
    loop = config.loops[name]
    left_out: list[str] = []
    changed = {}
    for keys, action in loop.policy.action_terms.items():
        update: dict[str, Any] = {}
        if action.fade_in_s is not None:
            update["fade_in_s"] = None
        if action.start is not None:
            update["start"] = None
            if action.relative and action.measured is None:
                update["measured"] = action.start.measured  # what its first target adds to
        left_out += [written((*keys, key)) for key in update if key != "measured"]
        changed[keys] = action.with_values(**update)
    of_policy: dict[str, Any] = {}
    if left_out:
        terms = tuple(changed.values())
        of_policy = {"actions": terms} if loop.policy.actions else {"action": terms[0]}
    if loop.policy.between != "hold" and not in_cycles:
        of_policy["between"] = "hold"
        left_out.append("between")
    if not left_out:
        return config, ()
    policy = loop.policy.with_values(**of_policy)
    loops = {**config.loops, name: loop.with_policy(policy)}
    return config.with_values(loops=loops), tuple(left_out)


def _refuse_runs_alone(config: Config, name: str, file: CasesFile) -> None:
    """What remembers cycles of the loop cannot be stepped through runs of the policy. Raises ConfigError."""
    policy = config.loops[name].policy
    if policy.every == 1 or file.is_in_cycles:
        return
    keys = [
        (*at, "controllers", index)
        for at, action in policy.action_terms.items()
        for index, controller in enumerate(action.controllers)
        if controller.remembers
    ]
    keys += [
        (*at, index)
        for at, terms in policy.terms.items()
        for index, term in enumerate(terms)
        if term.is_of_each_cycle
    ]
    if keys:
        found = "cases of runs of the policy, though this remembers the cycles between"
        expected = f"'every' in {file.path}, {policy.every}, and a step for each cycle"
        places = [config.where("loops", name, "policy", *at) for at in keys]
        raise ConfigError([Finding.of(place, found, expected) for place in places])


def _unread(loop: LoopConfig, policy: Opened) -> set[str]:
    """The inputs that change nothing: neither the policy reads them, nor does an output hold them."""
    names = list(policy.inputs)
    held = {hold.hold for output in loop.outputs.values() for _, hold in holds((), output.safe)}
    return {names[number] for number in policy.assembled.graph.unread} - held


def _refuse_unnamed(loop: LoopConfig, policy: Opened, file: CasesFile) -> None:
    """Elements that only a device knows stand in an order that only the file can tell: any order that were
    assumed would agree with itself. Raises ConfigError."""
    unnamed = [
        (f"in_{key}", key, policy.inputs[key])
        for key, section in loop.inputs.items()
        if section.named and section.known_names is None
    ]
    unnamed += [
        ("targets", key, policy.outputs[key])
        for key, section in loop.outputs.items()
        if section.named and section.known_names is None
    ]
    for array, key, signals in unnamed:
        if array not in file or f"names_{array}" in file:
            continue
        port = (loop.outputs if array == "targets" else loop.inputs)[key].port_name or key
        picked = [f"'{signal.name}'" for signal in signals if not signal.name.isdigit()]
        read = f" (here are read: {', '.join(picked[:3])}{', …' if len(picked) > 3 else ''})"
        expected = (
            f"names_{array}: what the device of '{port}' calls each element"
            f"{read if picked else ''}, in the order of the columns of '{array}'; only the "
            "device knows them, `rtloop check --device` asks it"
        )
        found = f"'{array}' without names, and '{key}' has none in the configuration"
        raise file.wrong(found, expected)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _amplified(
    cases: Cases, compared: Sequence[Compared], single: Sequence[Compared]
) -> float | None:
    """The largest difference of ``single`` steps, each from what the cases have of the step before it, where
    none differs by more than rounding; None where one does, or where they do not have it, or where what the
    policy observes and answers agrees: then no loop goes through it, and something else adds up."""
    largest = max(array.largest_apart for array in single)
    goes_through_it = any(
        array.first is not None and (array.name == "raw" or array.name.startswith("obs_"))
        for array in compared
    )
    return largest if cases.raw is not None and goes_through_it and largest <= AMPLIFIED else None


def _unexplained(cases: Cases, single: Sequence[Compared]) -> tuple[str, ...]:
    """What is to be said of differences that no single step has."""
    if cases.raw is None or any(array.first is not None for array in single):
        return ()
    largest = max(array.largest_apart for array in single)
    return (
        f"each step by itself is within the tolerance ({largest:.3g} at most, from what the cases have of the "
        "step before it), and adds up: cases of few digits, or a small mistake in what the policy remembers "
        "or adds to",
    )


def _not_finite(known: PolicyTable, got: Trace, every: int) -> Iterator[tuple[int, str]]:
    """The first run that observes something that is not finite, or else the first such command: a FAULT."""
    import numpy as np

    rows = [
        (name, values, [element.label for element in known.observations[name]])
        for name, values in got.observations.items()
    ]
    rows += [("raw", got.raw, list(known.raw))]
    rows += [("targets", got.targets, [element.name for element in known.command])]
    for name, values, labels in rows:
        wrong = np.argwhere(~np.isfinite(values))
        if len(wrong):
            step, index = map(int, wrong[0])
            told = f"{name}[{index}] {labels[index]} is {values[step, index]}"
            yield step if name == "targets" else step * every, told
            return


def _target_names(outputs: Mapping[str, Sequence[Signal]]) -> list[str]:
    """Bare where there is one output, else with the output's name before it."""
    if len(outputs) == 1:
        return [signal.name for signals in outputs.values() for signal in signals]
    return [f"{key}.{signal.name}" for key, signals in outputs.items() for signal in signals]
