"""The parts of a loop's YAML that all formats share: its head, rate, inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from rtloop.policy.importing.actions import OutputDraft
from rtloop.policy.importing.page import Page, Verbatim, flow
from rtloop.policy.importing.terms import InputDraft, zeros
from rtloop.policy.importing.training import Told

Anchors = dict[tuple[str, ...], str]
"""Names of elements that were written already, and how they are referred to."""


def put_head(page: Page, files: Sequence[str], name: str, todos: Sequence[str]) -> None:
    """The comment above all, and the loop's name and class."""
    page.comment(f"Written by `rtloop init {' '.join(files)}`; each line says where it is from.")
    page.comment(
        "`rtloop check` says whether it would run; what is marked TODO(you) is told by no file."
    )
    for todo in todos:
        page.todo(todo)
    page.put("loops")
    page.put(name, depth=1)
    page.todo(
        "soft starts on any host; `firm` or `hard` once CPU, priority and limits are chosen", 2
    )
    page.put("class", "soft", depth=2)


def put_rate(page: Page, period: Told[Fraction] | None) -> None:
    """As a rate where that is a decimal, else as a period."""
    if period is None:
        page.todo("the rate at which the policy was trained", 2)
        page.put("rate_hz", 50, depth=2)
        return
    rate = 1 / period.value
    is_decimal = Fraction(repr(float(rate))) == rate
    value = float(rate) if is_decimal else float(period.value * 1000)
    page.put("rate_hz" if is_decimal else "period_ms", value, period.where, 2)


def put_inputs(page: Page, inputs: Mapping[str, InputDraft]) -> Anchors:
    """The section ``inputs``."""
    page.put("inputs", depth=2)
    page.todo(
        "these are mailboxes, to be filled from Python; name the device that measures them", 3
    )
    anchors: Anchors = {}
    for name, drafted in inputs.items():
        if drafted.todo:
            page.todo(f"{name}: {drafted.todo}", 3)
        if drafted.is_guessed:
            page.todo(f"{name} has {drafted.size} values because so many are left over", 3)
        told = drafted.initial
        initial = zeros(drafted.size) if told is None else Verbatim(flow(told))
        if drafted.names is None:
            page.put(name, Verbatim(f"{{mailbox: {initial}}}"), drafted.where, 3)
            continue
        page.put(name, note=drafted.where, depth=3)
        page.put("mailbox", initial, depth=4)
        page.put("names", _anchored(drafted.names, anchors), depth=4)
    return anchors


def put_outputs(
    page: Page,
    outputs: Mapping[str, OutputDraft],
    measured: Mapping[str, InputDraft],
    gains: Mapping[str, Told[tuple[float, ...]]],
    anchors: Anchors,
) -> None:
    """The section ``outputs``, with the gains as comments above it.

    ``measured`` are the inputs that tell where joints are: positions are held there, where one alone has them.
    """
    page.put("outputs", depth=2)
    for key, gain in gains.items():
        page.comment(f"{key}: {flow(list(gain.value))} ({gain.where})", 3)
    for name, output in outputs.items():
        page.todo(
            f"{name}: a mailbox, to be read from Python; name the device that takes it. `safe` is "
            "what it gets where the loop ends: decide what your motors can bear (docs/safe.md)",
            3,
        )
        held = None
        if len(measured) == 1:
            held = _held(output, *next(iter(measured.items())))
        elif measured and output.is_position:
            page.todo(
                f"{name}: which of {', '.join(measured)} measures its elements is told nowhere: "
                f"`safe: {{hold: {next(iter(measured))}}}` if it is that",
                3,
            )
        page.put(name, note=output.where, depth=3)
        page.put("mailbox", True, depth=4)
        if output.names is None:
            page.put("size", output.size, depth=4)
        else:
            page.put("names", _anchored(output.names, anchors), depth=4)
        if held is None:
            page.put("safe", 0, depth=4)
        else:
            page.put("safe", held, "where the joints were measured last", 4)


def _held(output: OutputDraft, name: str, measured: InputDraft) -> dict[str, Any] | None:
    """A safe command that holds what an input measures of every element of an output of positions."""
    if not output.is_position:
        return None
    there = measured.names
    if output.names is None or there is None:
        is_like = output.names is there and output.size == measured.size
        return {"hold": name} if is_like else None
    if set(output.names) <= set(there):
        return {"hold": name}
    if {f"{joint}_pos" for joint in there} >= set(output.names):
        return {"*_pos": {"hold": name, "named": "{}"}}
    return None


def _anchored(names: tuple[str, ...], anchors: Anchors) -> Verbatim:
    """A list the first time, and a reference to it from then on."""
    if names in anchors:
        return Verbatim(f"*{anchors[names]}")
    anchors[names] = "joints" if not anchors else f"joints_{len(anchors) + 1}"
    return Verbatim(f"&{anchors[names]} {flow(names)}")
