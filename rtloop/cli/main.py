"""The command line: run, demo, check, init, policy, report, recover, devices, link, gateway."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from shlex import quote
from typing import TYPE_CHECKING, TextIO, cast

from rtloop.cli.arguments import parser
from rtloop.cli.outlet import Outlet, say, secure_standard_streams
from rtloop.cli.signals import Signals
from rtloop.errors import RtloopError, StoppedError
from rtloop.progress import told_to
from rtloop.stopping import stopped_when

if TYPE_CHECKING:
    from rtloop.cli.console import Console
    from rtloop.demos import Demo
    from rtloop.demos.firmware import FirmwareProcess
    from rtloop.run import Run
    from rtloop.telemetry.observe.summary import RunSummary


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    secure_standard_streams()
    arguments = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in arguments
    try:
        options = parser().parse_args(arguments)
        as_json = options.json
        with told_to(_tell_progress):
            return _COMMANDS[options.command](options)
    except RtloopError as error:
        return _tell(error, as_json)
    except KeyboardInterrupt:
        return _tell(RtloopError("interrupted"), as_json)


def _tell_progress(text: str) -> None:
    """For who waits: nothing that a program reads."""
    if sys.stderr.isatty():
        say(text, sys.stderr)


def _tell(error: RtloopError, as_json: bool) -> int:
    say(f"rtloop: {error}", sys.stderr)
    if as_json:
        say(json.dumps(error.as_dict(), indent=2))
    return error.exit_code


# --- commands ---


def _run(options: argparse.Namespace) -> int:
    with Signals() as signals:  # before the imports, which take longest of all that is to come
        from rtloop.config import load
        from rtloop.run import Run
        from rtloop.unwritten import refuse_empty

        config = load(options.file)
        refuse_empty(config)
        record = False if options.no_record else None
        run = Run(config, options.file.stem, clear=options.clear, record=record)
        signals.end(run)
        return _execute(run, options, signals)


def _demo(options: argparse.Namespace) -> int:
    with Signals() as signals:
        from rtloop.demos.demo import Disturbances, demo_run, find_demo

        demo = find_demo(options.name, options.firmware)
        disturbances = Disturbances(options.busy_python, options.overload, options.seed)
        record = not options.no_record
        running = demo_run(
            demo,
            disturbances,
            record=record,
            viewer=options.viewer,
            transport=options.transport,
        )
        with running as (run, devices):
            signals.end(run)
            return _execute(run, options, signals, demo, devices)


def _execute(
    run: Run,
    options: argparse.Namespace,
    signals: Signals,
    demo: Demo | None = None,
    devices: Sequence[FirmwareProcess] = (),
) -> int:
    from rtloop.cli.console import Console
    from rtloop.run import exit_code

    outlet = Outlet(sys.stderr if options.json else sys.stdout)
    console = Console(cast(TextIO, outlet), demo, devices)
    with suppress(StoppedError), run:  # the summary says it
        if not options.json:
            console.announce(run)
        is_seen = not options.json or sys.stderr.isatty()
        run.wait(options.duration or None, (lambda: console.draw(run)) if is_seen else None)
    summary = run.stop()
    summary = replace(summary, devices={device.link.name: device.stop() for device in devices})
    summary = _reported(summary, run, signals, options, console, demo, devices)
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
    summary: RunSummary,
    run: Run,
    signals: Signals,
    options: argparse.Namespace,
    console: Console,
    demo: Demo | None,
    devices: Sequence[FirmwareProcess],
) -> RunSummary:
    if options.no_report or not run.is_recorded:
        return summary
    if not options.json:
        console.say(console.styled("writing the report …", "dim"))
    try:
        # The loops have ended: another Ctrl-C is meant for a report that takes too long.
        with stopped_when(signals.from_now_on()):
            summary = _illustrated(summary, run, demo, devices)
            return replace(summary, report=run.write_report())
    except StoppedError:
        again = f"no report: it was stopped. `rtloop report {quote(str(run.directory))}` writes it"
        return replace(summary, problems=(*summary.problems, again))
    except RtloopError as error:
        return replace(summary, problems=(*summary.problems, str(error)))


def _illustrated(
    summary: RunSummary, run: Run, demo: Demo | None, devices: Sequence[FirmwareProcess]
) -> RunSummary:
    """A report without its pictures is one all the same."""
    try:
        if demo is not None:
            demo.illustrate(run.recording, devices)
    except StoppedError:
        raise
    except RtloopError as error:
        return replace(summary, problems=(*summary.problems, str(error)))
    return summary


def _check(options: argparse.Namespace) -> int:
    from rtloop.cli.check import check

    found = check(options.file, device=options.device)
    if found.error is not None:
        say(f"rtloop: {found.error}", sys.stderr)
    told = say(json.dumps(found.as_dict(), indent=2) if options.json else str(found))
    return found.exit_code or (0 if told else 1)


def _init(options: argparse.Namespace) -> int:
    from rtloop.cli.init import init

    return init(options)


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


def _show_policy(options: argparse.Namespace) -> int:
    from rtloop.cli.policy import show

    return show(options)


def _verify_policy(options: argparse.Namespace) -> int:
    from rtloop.cli.policy import verify

    return verify(options)


def _compile_policies(options: argparse.Namespace) -> int:
    from rtloop.cli.compile import compile_policies

    return compile_policies(options)


def _bench_policy(options: argparse.Namespace) -> int:
    from rtloop.cli.bench import bench_policy

    return bench_policy(options)


def _quantize_policy(options: argparse.Namespace) -> int:
    from rtloop.cli.quantize import quantize_policy

    return quantize_policy(options)


def _devices(options: argparse.Namespace) -> int:
    from rtloop.cli.devices import devices

    return devices(options)


def _link_info(options: argparse.Namespace) -> int:
    from rtloop.cli.link.info import info

    return info(options)


def _link_monitor(options: argparse.Namespace) -> int:
    from rtloop.cli.link.monitor import monitor

    return monitor(options)


def _link_ping(options: argparse.Namespace) -> int:
    from rtloop.cli.link.ping import ping

    return ping(options)


def _link_state(options: argparse.Namespace) -> int:
    from rtloop.cli.link.states import change_state

    return change_state(options)


def _link_sniff(options: argparse.Namespace) -> int:
    from rtloop.cli.link.sniff import sniff

    return sniff(options)


def _gateway(options: argparse.Namespace) -> int:
    from rtloop.cli.gateway import gateway

    return gateway(options)


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "demo": _demo,
    "check": _check,
    "init": _init,
    "report": _report,
    "recover": _recover,
    "policy show": _show_policy,
    "policy verify": _verify_policy,
    "policy compile": _compile_policies,
    "policy bench": _bench_policy,
    "policy quantize": _quantize_policy,
    "devices": _devices,
    "link info": _link_info,
    "link monitor": _link_monitor,
    "link ping": _link_ping,
    "link arm": _link_state,
    "link clear": _link_state,
    "link safe": _link_state,
    "link sniff": _link_sniff,
    "gateway": _gateway,
}


if __name__ == "__main__":
    sys.exit(main())
