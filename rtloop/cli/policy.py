"""What a policy observes and commands, and whether it does what it did in training: tables for people."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rtloop.cli.outlet import say
from rtloop.cli.table import Row, table
from rtloop.cli.terminal import Terminal
from rtloop.config import Config, LoopConfig, load
from rtloop.config.config import label
from rtloop.config.problem import number
from rtloop.errors import ConfigError, RtloopError
from rtloop.policy.compared import SENT, Compared, ElementApart
from rtloop.policy.opened import Opened, opened, standing
from rtloop.policy.show import CommandedElement, ObservedElement
from rtloop.policy.verify import TOLERANCE, Verification
from rtloop.policy.verify import verify as verified

#: So many elements of steps before are folded into a line.
FOLDED_MIN = 4
#: Columns that the formula says, too.
SAID_TWICE = ("scale", "clip")
#: Columns of a difference that a narrow terminal can do without.
FURTHER = ("worst at", "steps", "first")
#: So many elements that the cases do not show are told by their names.
SOME = 6


def show(options: argparse.Namespace) -> int:
    """Prints the tables of a loop, or of all; its exit code."""
    config = load(options.file)
    chosen = _policies(config, options)
    if options.graph is not None:
        chosen = [chosen_policy(config, options)]
        if options.graph.exists() and not options.force:
            found = f"{options.graph} is there already"
            raise ConfigError(f"{found}; --force overwrites it, or name another file")
    shown = [opened(one.config, one.loop) for one in chosen]
    if options.graph is not None:
        _write(options.graph, chosen[0].config.loops[chosen[0].loop], shown[0], options.force)
    if options.json:
        tables = (policy.table.as_dict() for policy in shown)
        loops = dict(zip((one.label for one in chosen), tables, strict=True))
        return 0 if say(json.dumps({"file": str(options.file), "loops": loops}, indent=2)) else 1
    terminal = Terminal(sys.stdout)
    lines: list[str] = []
    for one, policy in zip(chosen, shown, strict=True):
        lines += _shown(one, policy, options.all, terminal)
    if options.graph is not None:
        lines.append(terminal.wrapped(f"written: {options.graph}, one ONNX model with its state"))
    return 0 if say("\n".join(lines)) else 1


def verify(options: argparse.Namespace) -> int:
    """Prints what differs; 0 within the tolerance, else 1."""
    one = chosen_policy(load(options.file), options)
    found = verified(one.config, one.loop, options.cases, options.tolerance or TOLERANCE)
    if options.json:
        text = json.dumps({**found.as_dict(), "exit_code": int(not found.agrees)}, indent=2)
    else:
        text = "\n".join(_verification(found, Terminal(sys.stdout)))
    return int(not (say(text) and found.agrees))


@dataclass(frozen=True)
class Chosen:
    """One policy of one loop, in a configuration in which the loop has no other."""

    config: Config
    loop: str
    label: str


def _policies(config: Config, options: argparse.Namespace) -> list[Chosen]:
    """Those that the options leave: all, or one of each loop. Raises ConfigError."""
    loops = list(config.loops) if options.loop is None else [loop_named(config, options.loop)]
    found = [
        Chosen(alone, loop, label(loop, name))
        for loop in loops
        for name, alone in config.each_policy(loop).items()
        if options.policy in (None, name)
    ]
    if not found:
        known = [f"'{name}'" for loop in loops for name in config.loops[loop].policies]
        there_is = f"; there is: {', '.join(known)}" if known else ": no loop has several"
        raise ConfigError(f"there is no policy '{options.policy}'{there_is}")
    return found


def chosen_policy(config: Config, options: argparse.Namespace) -> Chosen:
    """One policy. Raises ConfigError."""
    loop = loop_named(config, options.loop)
    found = _policies(config, argparse.Namespace(loop=loop, policy=options.policy))
    if len(found) > 1:
        listed = ", ".join(f"'{name}'" for name in config.loops[loop].policies)
        raise ConfigError(f"{len(found)} policies ({listed}): say which one, with --policy")
    return found[0]


def loop_named(config: Config, name: str | None) -> str:
    """The loop of a name, or the only one. Raises ConfigError."""
    listed = ", ".join(f"'{known}'" for known in config.loops)
    if name is None and len(config.loops) > 1:
        raise ConfigError(f"{len(config.loops)} loops ({listed}): say which one, with --loop")
    if name is not None and name not in config.loops:
        raise ConfigError(f"there is no loop '{name}'; there is: {listed}")
    return name or next(iter(config.loops))


def _write(path: Path, loop: LoopConfig, policy: Opened, force: bool) -> None:
    from rtloop.policy.onnx_file import with_feedback

    if loop.policy.every > 1:
        raise ConfigError(
            f"--graph writes one model, all of which runs in each step: a policy with `every: "
            f"{loop.policy.every}` is none; take a copy of the file without `every`, at the policy's rate"
        )
    written = with_feedback(policy.assembled.graph, standing(loop, policy))
    try:
        with path.open("wb" if force else "xb") as file:
            file.write(written)
    except OSError as error:
        raise RtloopError(f"cannot write '{path}': {error.strerror}") from error


# --- show ---


def _shown(one: Chosen, policy: Opened, all_of_it: bool, terminal: Terminal) -> Iterator[str]:
    loop = one.config.loops[one.loop]
    yield terminal.styled(f"{one.label}: {loop.loop_class}, {loop.rates}", "bold")
    for tensor, elements in policy.table.observations.items():
        yield terminal.wrapped(f"\n{terminal.styled(tensor, 'bold')}: {len(elements)} values, of x")
        header = ("#", "element", "x", "formula", "ago", "unit", "clip", "scale")
        yield from table(header, _folded(elements, all_of_it), terminal, SAID_TWICE)
    command = policy.table.command
    yield f"\n{terminal.styled('command', 'bold')}: {len(command)} values, of y"
    of_y = ("#", "element", "y", "formula", "joint", "unit", "limits", "clip", "scale")
    yield from table(of_y, map(_command_row, command), terminal, SAID_TWICE)
    if policy.table.notes:
        yield ""
    for note in policy.table.notes:
        yield terminal.wrapped(f"note: {note}")


def _folded(elements: Sequence[ObservedElement], all_of_it: bool) -> Iterator[Row | str]:
    """A row for each element; a line in place of those of further slots of a history."""
    position = 0
    while position < len(elements):
        end = position
        while end < len(elements) and elements[end].slot and not all_of_it:
            end += 1
        if end - position < FOLDED_MIN:
            yield _observed_row(elements[position])
            position += 1
            continue
        steps = list(dict.fromkeys(element.steps_ago for element in elements[position:end]))
        told = f"{steps[0]}" if len(steps) == 1 else f"{steps[0]} … {steps[-1]}"
        many = "s" if len(steps) > 1 else ""
        yield (
            f"… {len(steps)} more step{many} of them, {told} ago: "
            f"elements {position} to {end - 1} (--all shows them)"
        )
        position = end


def _observed_row(element: ObservedElement) -> Row:
    ago = str(element.steps_ago) if element.start else ""
    clip, scale = _clip(element.formula.clip), _scale(element.formula.scale)
    formula = element.formula.text
    return (
        str(element.index), element.name, element.source, formula, ago, element.unit, clip, scale,
    )  # fmt: skip


def _command_row(element: CommandedElement) -> Row:
    clip, scale = _clip(element.formula.clip), _scale(element.formula.scale)
    source, formula = element.source or "default", element.formula.text
    joint = element.joint if element.joint != element.name.partition(".")[2] else ""
    limits = _limits(element)
    return (
        str(element.index), element.name, source, formula, joint, element.unit, limits, clip, scale,
    )  # fmt: skip


def _limits(element: CommandedElement) -> str:
    """Those of its output."""
    low, high, rate = element.min, element.max, element.max_rate_per_s
    told = []
    if low is not None or high is not None:
        bounds = ("" if bound is None else number(bound) for bound in (low, high))
        told.append(f"[{', '.join(bounds)}]")
    if rate is not None:
        told.append(f"{number(rate)}/s")
    return " ".join(told)


def _clip(clip: tuple[float, float] | None) -> str:
    return "" if clip is None else f"[{number(clip[0])}, {number(clip[1])}]"


def _scale(scale: float) -> str:
    return "" if scale == 1.0 else f"{scale:.7g}"


# --- verify ---


def _verification(found: Verification, terminal: Terminal) -> Iterator[str]:
    yield terminal.wrapped(
        f"{found.loop}: {found.steps} steps in closed loop, within {number(found.tolerance)} "
        "(absolute up to 1, relative above; of the range of what ranges over less than 1)"
    )
    yield from table(
        ("", "array", "values", "largest difference", "elements that differ"),
        [
            ("", array.name, str(array.elements), f"{array.largest_apart:.3g}", _differing(array))
            for array in found.compared
        ],
        terminal,
    )
    if found.ignored:
        yield terminal.wrapped(f"in the file, and of no use here: {', '.join(found.ignored)}")
    if found.left_out:
        told = f"left out, which cases of this kind do not show: {', '.join(found.left_out)}"
        yield terminal.wrapped(told)
    for step, told in found.terminations:
        yield terminal.wrapped(f"a run would have gone to FAULT in step {step}: {told}")
    limited = next((array for array in found.compared if array.name == SENT and array.worst), None)
    if limited is not None:
        worst = limited.worst[0].largest
        yield terminal.wrapped(
            f"limits of the outputs would have changed what is commanded in {limited.steps} of "
            f"{found.steps} steps, most in step {worst.step}: {worst.got:.6g} in place of "
            f"{worst.expected:.6g} for {worst.element}"
        )
    if found.amplified is not None:
        yield terminal.wrapped(
            f"rounding that the closed loop amplifies, first at {found.first}; each step, from what the cases "
            f"have of the one before it, differs by {found.amplified:.3g} at most"
        )
    if found.agrees or found.first is None:
        yield from _agreeing(found, terminal)
        return
    yield terminal.wrapped(f"{terminal.styled('differs', 'red')} first at {found.first}")
    array = next(array for array in found.compared if array.first == found.first)
    others = [other for other in found.compared if other.differing and other is not array]
    yield f"\nthe first that differ, of {array.name}"
    yield from _elements(array.earliest, terminal)
    if array.worst[0] not in array.earliest:
        yield f"\nthe worst of {array.name}"
        yield from _elements(array.worst, terminal)
    if others:
        names = ", ".join(other.name for other in others)
        yield terminal.wrapped(f"\n{names}: what differs there may follow from it")
    if found.hints:
        yield ""
    for hint in found.hints:
        yield terminal.wrapped(f"hint: {hint}")


def _agreeing(found: Verification, terminal: Terminal) -> Iterator[str]:
    """What the cases leave open, then what they show."""
    left = found.unseen
    if left.constant:
        told = f"constant in these cases, so that a mistake in them is not seen: {_some(left.constant)}"
        yield terminal.wrapped(told)
    if left.clips:
        yield terminal.wrapped(f"with bounds that no value here reached: {_some(left.clips)}")
    if not left.arrays:
        yield terminal.styled("agrees", "green")
        return
    arrays = ", ".join(array.name for array in found.compared)
    told = f"agrees in what was compared: {arrays}; not compared: {', '.join(left.arrays)}"
    yield terminal.wrapped(told)


def _some(names: Sequence[str]) -> str:
    """The names of a few; of more, how many of each part."""
    if len(names) <= SOME:
        return ", ".join(names)
    parts = Counter(name.partition(".")[0] for name in names)
    return f"{len(names)} elements ({', '.join(f'{n} of {part}' for part, n in parts.items())})"


def _elements(elements: Sequence[ElementApart], terminal: Terminal) -> Iterator[str]:
    """The first step that differs, how many do, and the worst of them."""
    header = ("#", "element", "first", "steps", "worst at", "got", "expected")
    rows = [
        (
            str(element.largest.index),
            element.largest.element,
            str(element.first_step),
            str(element.steps),
            str(element.largest.step),
            f"{element.largest.got:.6g}",
            f"{element.largest.expected:.6g}",
        )
        for element in elements
    ]
    yield from table(header, rows, terminal, FURTHER)


def _differing(array: Compared) -> str:
    return str(array.differing) if array.differing else "none"
