"""``rtloop policy quantize``: what fewer bits change, and the new model where nothing speaks against it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from math import isfinite

from rtloop.cli.bench import of_conditions, percentiles
from rtloop.cli.outlet import say
from rtloop.cli.policy import chosen_policy
from rtloop.cli.table import table
from rtloop.cli.terminal import Terminal
from rtloop.config import Config, load
from rtloop.config.problem import number
from rtloop.policy.quantize.effect import ElementError
from rtloop.policy.quantize.outcome import Limits, Quantized
from rtloop.policy.quantize.quantize import Request, quantize

#: Of more elements, the worst are shown.
SHOWN = 12


def quantize_policy(options: argparse.Namespace) -> int:
    """0 where a model was written; 1 where one was refused, and nothing was."""
    one = chosen_policy(load(options.file), options)
    request = Request(
        options.to,
        options.calibration,
        options.cases,
        options.out,
        options.plant,
        Limits(options.max_error, options.max_time, options.max_loss),
        options.seconds,
    )
    found = quantize(one.config, one.loop, request)
    code = int(bool(found.refused))
    if options.json:
        told = {"file": str(options.file), **found.as_dict(), "exit_code": code}
        return code if say(json.dumps(told, indent=2)) else 1
    return code if say("\n".join(_told(found, one.config, Terminal(sys.stdout)))) else 1


def _told(found: Quantized, config: Config, terminal: Terminal) -> Iterator[str]:
    yield terminal.styled(f"{found.loop}: {found.kind}", "bold")
    ranges = f"ranges from {found.calibrated_runs} runs; " if found.calibrated_runs else ""
    yield terminal.wrapped(f"{ranges}compared in {found.compared_runs} runs of the policy")
    worst = sorted(found.errors, key=lambda error: -error.relative)
    yield "\nerror of what the policy answers, the worst first"
    header = ("", "element", "largest", "range", "of range")
    rows: list[tuple[str, ...] | str] = [_row(error) for error in worst[:SHOWN]]
    if len(worst) > SHOWN:
        rows.append(f"… {len(worst) - SHOWN} more elements, with smaller ones (--json has all)")
    yield from table(header, rows, terminal)
    yield "\ntime, warm: bursts of both in turn"
    ratio = "–" if found.ratio is None else f"{found.ratio:.2f}"
    noise = "–" if found.noise is None else f"{found.noise:.2f}"
    times: list[tuple[str, ...]] = [
        ("", "float32", *percentiles(found.before), "1.00"),
        ("", found.kind, *percentiles(found.after), ratio),
        ("", "float32 / itself", "", "", "", "", "", noise),
    ]
    of_time = ("", "", "p50 µs", "p99 µs", "p99.9 µs", "high water µs", "N", "× float32")
    yield from table(of_time, times, terminal, ("N", "p99.9 µs"))
    yield ""
    yield from _plant(found, terminal)
    yield from map(terminal.wrapped, of_conditions(found.conditions))
    for reason in found.refused:
        yield terminal.wrapped(f"{terminal.styled('refused', 'red')}: {reason}")
    if found.refused:
        yield "nothing is written"
    for new in found.written.values():
        named = os.path.relpath(new.path, config.path.parent)
        yield terminal.wrapped(f"{terminal.styled('written', 'green')}: {new.path}")
        yield terminal.wrapped(f"{new.named_at}: `model: {named}` takes it")
        if new.pinned_at is not None:
            yield terminal.wrapped(f"{new.pinned_at}: `sha256: {new.sha256}`, which is its own")


def _row(error: ElementError) -> tuple[str, ...]:
    share = f"{100 * error.relative:.3g} %" if error.range and isfinite(error.relative) else "–"
    return ("", error.element, f"{error.largest:.3g}", f"{error.range:.4g}", share)


def _plant(found: Quantized, terminal: Terminal) -> Iterator[str]:
    plant = found.closed_loop
    if plant is None:
        yield terminal.wrapped(f"in closed loop: not known: {found.no_plant}\n")
        return
    yield f"in closed loop: {plant.plant}"
    names = [name for name in plant.before if name in plant.after]
    rows = [("", n, number(plant.before[n]), number(plant.after[n])) for n in names]
    yield from table(("", "", "float32", found.kind), rows, terminal)
    yield ""
