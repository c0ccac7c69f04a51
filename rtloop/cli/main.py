"""The command line: run, demo, check, report, recover."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from rtloop import __version__
from rtloop.cli.outlet import Outlet, say, secure_standard_streams
from rtloop.errors import RtloopError, StoppedError
from rtloop.stopping import stop_signals

if TYPE_CHECKING:
    from rtloop.cli.console import Console
    from rtloop.demos import Demo
    from rtloop.demos.firmware import FirmwareProcess
    from rtloop.run import Run
    from rtloop.telemetry.observe.summary import RunSummary

EXIT_CODES = """exit codes:
  0  every loop was in control of its plant, as its class and its limits promise
  1  one was not (a fault, misses over its limit, more than max_share allows), or an incomplete recording
  2  wrong usage or configuration
  3  the host refused a right that was demanded (on_denied: fail)
  4  stopped (Ctrl-C, SIGTERM, SIGHUP) before it started: no loop ran, no device was commanded
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    secure_standard_streams()
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
    except RtloopError as error:
        say(f"rtloop: {error}", sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rtloop",
        description="Real-time control loops with machine-learned policies.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rtloop {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = _command(
        commands,
        "run",
        _run,
        "run the loops of a configuration",
        "rtloop run robot.yaml --duration 60",
    )
    run.add_argument("file", type=Path, metavar="FILE", help="the YAML configuration")
    _add_run_options(run)
    run.add_argument(
        "--clear", action="store_true", help="clear a device that is latched SAFE, then arm it"
    )

    demo = _command(
        commands,
        "demo",
        _demo,
        "balance a simulated cart-pole; no hardware needed",
        "rtloop demo --busy-python --duration 10",
    )
    demo.add_argument("name", nargs="?", default="cartpole", metavar="NAME", help="cartpole")
    _add_run_options(demo, duration=20.0)
    demo.add_argument(
        "--busy-python", action="store_true", help="keep a Python thread spinning in this process"
    )
    demo.add_argument(
        "--overload",
        action="store_true",
        help="one loop of each class, with some inferences made too slow",
    )
    demo.add_argument("--seed", type=int, default=1, help="of noise and pushes (default 1)")

    check = _command(
        commands,
        "check",
        _check,
        "check a configuration, its policies and this host; starts nothing",
        "rtloop check robot.yaml",
    )
    check.add_argument("file", type=Path, metavar="FILE", help="the YAML configuration")
    check.add_argument("--json", action="store_true", help="for machines")

    report = _command(
        commands,
        "report",
        _report,
        "render a recording as one HTML file",
        "rtloop report rtloop-runs/20260101T120000-robot/run.mcap",
    )
    report.add_argument("recording", type=Path, metavar="RUN", help="a RUN.mcap or its folder")
    report.add_argument("--out", type=Path, metavar="FILE", help="default: report.html beside it")
    report.add_argument("--json", action="store_true", help="for machines")

    recover = _command(
        commands,
        "recover",
        _recover,
        "restore recordings whose loop and recorder were killed",
        "rtloop recover",
    )
    recover.add_argument(
        "recording",
        type=Path,
        nargs="?",
        metavar="RUN",
        help="a cut RUN.mcap or its folder; default: every dead run on this machine",
    )
    recover.add_argument("--json", action="store_true", help="for machines")
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    function: Any,
    summary: str,
    example: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=function)
    return parser


def _add_run_options(parser: argparse.ArgumentParser, duration: float | None = None) -> None:
    until = "until Ctrl-C" if duration is None else f"{duration:g}; 0 is until Ctrl-C"
    parser.add_argument(
        "--duration",
        type=_seconds,
        default=duration,
        metavar="S",
        help=f"seconds to run (default: {until})",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.add_argument("--no-record", action="store_true", help="record nothing")
    parser.add_argument("--no-report", action="store_true", help="render no report")


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no duration in seconds")
    return value


# --- commands ---


def _run(options: argparse.Namespace) -> int:
    from rtloop.config import load
    from rtloop.run import Run

    with _Signals() as signals:
        config = load(options.file)
        record = False if options.no_record else None
        run = Run(config, options.file.stem, clear=options.clear, record=record)
        signals.end(run)
        return _execute(run, options, signals)


def _demo(options: argparse.Namespace) -> int:
    from rtloop.demos.demo import DEMOS, Disturbances, demo_run
    from rtloop.errors import ConfigError

    demo = DEMOS.get(options.name)
    if demo is None:
        raise ConfigError(f"there is no demo '{options.name}'; there is: {', '.join(DEMOS)}")
    disturbances = Disturbances(options.busy_python, options.overload, options.seed)
    record = not options.no_record
    with _Signals() as signals, demo_run(demo, disturbances, record=record) as (run, devices):
        signals.end(run)
        return _execute(run, options, signals, demo, devices)


def _execute(
    run: Run,
    options: argparse.Namespace,
    signals: _Signals,
    demo: Demo | None = None,
    devices: Sequence[FirmwareProcess] = (),
) -> int:
    from rtloop.cli.console import Console
    from rtloop.run import exit_code

    outlet = Outlet(sys.stderr if options.json else sys.stdout)
    console = Console(cast(TextIO, outlet), demo)
    with suppress(StoppedError), run:  # the summary says it
        if not options.json:
            console.announce(run)
        is_seen = not options.json or sys.stderr.isatty()
        run.wait(options.duration or None, (lambda: console.draw(run)) if is_seen else None)
    summary = replace(run.stop(), devices={device.link.name: device.stop() for device in devices})
    summary = _reported(summary, run, options, console)
    signals.release()  # nothing moves: what takes the summary may be slow, and Ctrl-C ends that
    code = exit_code(summary)
    if options.json:
        outlet.finish()
        return code if say(json.dumps(summary.as_dict(), indent=2)) else code or 1
    if summary.started:
        console.summarise(summary)
    else:
        console.say(
            f"stopped by {summary.stopped_by} before it started: no loop ran, and no device was "
            "commanded"
        )
    outlet.finish()
    return code


def _reported(
    summary: RunSummary, run: Run, options: argparse.Namespace, console: Console
) -> RunSummary:
    if options.no_report or not run.is_recorded:
        return summary
    if not options.json:
        console.say(console.styled("writing the report …", "dim"))
    try:
        return replace(summary, report=run.write_report())
    except RtloopError as error:
        return replace(summary, problems=(*summary.problems, str(error)))


class _Signals:
    """Ctrl-C, SIGTERM and SIGHUP end a run in order. Not by an exception: it could strike anywhere.

    A context manager: from before anything is opened until all that moved has ended.
    """

    def __init__(self) -> None:
        self._run: Run | None = None
        self._first = ""
        self._before = {number: signal.signal(number, self._handle) for number in stop_signals()}
        # A job in the background that prints is not to be stopped for it, loops and all.
        self._before[signal.SIGTTOU] = signal.signal(signal.SIGTTOU, signal.SIG_IGN)

    def __enter__(self) -> _Signals:
        return self

    def __exit__(self, *_error: object) -> None:
        self.release()

    def release(self) -> None:
        """They mean again what they meant before. May be called again."""
        while self._before:
            signal.signal(*self._before.popitem())

    def end(self, run: Run) -> None:
        """From now on they end ``run``; one that came before does too."""
        self._run = run
        if self._first:
            run.request_stop(self._first)

    def _handle(self, number: int, _frame: object) -> None:
        name = signal.Signals(number).name
        self._first = self._first or name
        if self._run is not None:
            self._run.request_stop(name)


def _check(options: argparse.Namespace) -> int:
    from rtloop.cli.check import check

    found = check(options.file)
    return 0 if say(json.dumps(found.as_dict(), indent=2) if options.json else str(found)) else 1


def _report(options: argparse.Namespace) -> int:
    from rtloop.report.page import report_path, write_report

    path = write_report(options.recording, options.out or report_path(options.recording))
    return 0 if say(json.dumps({"report": str(path)}) if options.json else str(path)) else 1


def _recover(options: argparse.Namespace) -> int:
    from rtloop.telemetry.recorder.recover import recover

    recovered = recover(options.recording)
    if options.json:
        told = json.dumps([found.as_dict() for found in recovered], indent=2)
    else:
        told = "\n".join(map(str, recovered))
    nothing = "nothing to recover: no dead run has left a ring or a cut recording here"
    was_said = say(told or nothing)
    return 1 if any(found.error for found in recovered) or not was_said else 0


if __name__ == "__main__":
    sys.exit(main())
