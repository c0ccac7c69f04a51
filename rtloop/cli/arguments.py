"""What the command line takes: commands, options, and the help of each."""

from __future__ import annotations

import argparse
import textwrap

from rtloop import __version__
from rtloop.cli.command import (
    Commands,
    Parser,
    command,
    names,
    pair,
    path,
    positive,
    seconds,
    seed,
    tolerance,
)
from rtloop.cli.link.arguments import add_devices, add_gateway, add_link
from rtloop.errors import EXIT_CODES


def exit_codes() -> str:
    """The table of exit codes, for ``--help``."""
    lines = ["exit codes:"]
    for code, meaning in EXIT_CODES.items():
        lines += textwrap.wrap(meaning, 95, initial_indent=f"  {code}  ", subsequent_indent="     ")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """Its options have ``command``, the name of one of them; ``parse_args`` raises UsageError."""
    parser = Parser(
        prog="rtloop",
        description="Real-time control loops with machine-learned policies.",
        epilog=exit_codes(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rtloop {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = command(
        commands,
        "run",
        "run the loops of a configuration",
        "rtloop run robot.yaml --duration 60",
    )
    run.add_argument("file", type=path, metavar="FILE", help="the YAML configuration")
    _add_run_options(run)
    run.add_argument(
        "--clear", action="store_true", help="clear a device that is latched SAFE, then arm it"
    )

    demo = command(
        commands,
        "demo",
        "balance a simulated cart-pole, or walk; no hardware needed",
        "rtloop demo --busy-python --duration 10",
    )
    demo.add_argument(
        "name", nargs="?", default="cartpole", metavar="NAME", help="cartpole, quadruped"
    )
    _add_run_options(demo, duration=20.0)
    demo.add_argument(
        "--busy-python", action="store_true", help="keep a Python thread spinning in this process"
    )
    demo.add_argument(
        "--overload",
        action="store_true",
        help="one loop of each class, with some inferences made too slow",
    )
    demo.add_argument(
        "--transport",
        choices=("serial", "zmq", "udp"),
        default="serial",
        help="of its links: a pseudo-terminal (default), or ZeroMQ or UDP on loopback",
    )
    demo.add_argument(
        "--firmware",
        choices=("host", "qemu"),
        default="host",
        help="of the cart-pole: a program of this machine (default), or Arm code on an emulated Cortex-M4F",
    )
    demo.add_argument("--seed", type=seed, default=1, help="of noise and pushes (default 1)")
    demo.add_argument(
        "--viewer", action="store_true", help="watch the quadruped in MuJoCo's viewer (a display)"
    )

    check = command(
        commands,
        "check",
        "say what would keep a configuration from running here; starts nothing, moves nothing",
        "rtloop check robot.yaml --device",
    )
    check.add_argument("file", type=path, metavar="FILE", help="the YAML configuration")
    check.add_argument(
        "--device",
        action="store_true",
        help="ask the devices, too, without arming them; else what only they know is assumed",
    )
    check.add_argument(
        "--json", action="store_true", help="for editors and CI: problems with places"
    )

    init = command(
        commands,
        "init",
        "write the configuration of a loop from a policy and what its exporter wrote beside it",
        "rtloop init policy.onnx deploy.yaml -o robot.yaml",
    )
    init.add_argument("model", type=path, metavar="MODEL", help="the policy, an ONNX file")
    init.add_argument(
        "deploy",
        type=path,
        nargs="?",
        metavar="DEPLOY",
        help="deploy.yaml of unitree_rl_lab, or IO descriptors of Isaac Lab",
    )
    init.add_argument(
        "-o", "--out", default="loop.yaml", metavar="FILE", help="default: loop.yaml; - is stdout"
    )
    init.add_argument("--force", action="store_true", help="overwrite the file")
    init.add_argument(
        "--rename",
        action="append",
        default=[],
        type=pair,
        metavar="NAME=NAME",
        help="another name for an input or output of the loop; may be repeated",
    )
    init.add_argument(
        "--joints",
        type=names,
        metavar="A,B,…",
        help="the joints in the order of the robot, where the files do not name them",
    )
    init.add_argument(
        "--fix-dimension",
        action="append",
        default=[],
        type=pair,
        metavar="NAME=N",
        help="the size of a dynamic dimension of the model; may be repeated",
    )
    init.add_argument("--json", action="store_true", help="for machines: what is left to decide")

    report = command(
        commands,
        "report",
        "render a recording as one HTML file",
        "rtloop report rtloop-runs/20260101T120000-robot/run.mcap",
    )
    report.add_argument("recording", type=path, metavar="RUN", help="a RUN.mcap or its folder")
    report.add_argument("--out", type=path, metavar="FILE", help="default: report.html beside it")
    report.add_argument("--json", action="store_true", help="for machines")

    _add_policy(commands)
    add_devices(commands)
    add_link(commands)
    add_gateway(commands)

    recover = command(
        commands,
        "recover",
        "restore recordings whose loop and recorder were killed",
        "rtloop recover",
    )
    recover.add_argument(
        "recording",
        type=path,
        nargs="?",
        metavar="RUN",
        help="a cut RUN.mcap or its folder; default: every dead run on this machine",
    )
    recover.add_argument("--json", action="store_true", help="for machines")
    return parser


def _add_policy(commands: Commands) -> None:
    policy = commands.add_parser(
        "policy", help="show, verify, compile, measure, quantize the policy of a loop"
    )
    policy_commands = policy.add_subparsers(required=True, metavar="COMMAND")

    show = command(
        policy_commands,
        "show",
        "say what every element is that a policy observes and commands",
        "rtloop policy show robot.yaml --graph composed.onnx",
    )
    show.add_argument(
        "--all", action="store_true", help="every step of histories, which are folded otherwise"
    )
    show.add_argument(
        "--graph",
        type=path,
        metavar="OUT.onnx",
        help="write the policy and all around it as one ONNX model",
    )
    show.add_argument("--force", action="store_true", help="overwrite OUT.onnx")
    verify = command(
        policy_commands,
        "verify",
        "step a policy through recorded inputs, and compare with what it did in training",
        "rtloop policy verify robot.yaml cases.npz",
    )
    verify.add_argument(
        "--tolerance",
        type=tolerance,
        metavar="X",
        help="how far values may be apart: absolute up to 1, relative above, and of its range for an "
        "element that ranges over less than 1 (default 0.001)",
    )
    compile_ = command(
        policy_commands,
        "compile",
        "compile the models of a configuration ahead of time, for `backend: aot`",
        "rtloop policy compile robot.yaml --into compiled",
    )
    compile_.add_argument(
        "--into",
        type=path,
        metavar="DIR",
        help="to take along (default: `aot_cache` of the policy, else this user's cache)",
    )
    for name, each in (("show", show), ("verify", verify), ("compile", compile_)):
        each.set_defaults(command=f"policy {name}")
        each.add_argument("file", type=path, metavar="FILE", help="the YAML configuration")
        each.add_argument("--json", action="store_true", help="for machines")
    verify.add_argument("cases", type=path, metavar="CASES.npz", help="as docs/verify.md says")
    bench = command(
        policy_commands,
        "bench",
        "measure a policy: first run, warm, cold caches, in the loop, in each version of its models",
        "rtloop policy bench robot.yaml --versions ort,aot,int8",
    )
    bench.set_defaults(command="policy bench")
    bench.add_argument(
        "file", type=path, metavar="FILE", help="the YAML configuration, or a model alone (.onnx)"
    )
    bench.add_argument(
        "--versions",
        type=names,
        default=("ort", "aot", "float16", "int8"),
        metavar="A,B",
        help="of ort (onnxruntime, with which the others are compared), aot, float16 and int8 (default: all)",
    )
    bench.add_argument(
        "--seconds",
        type=positive,
        default=5.0,
        metavar="S",
        help="for each of warm, cold and in the loop, all versions together (default 5)",
    )
    bench.add_argument("--json", action="store_true", help="for machines")
    quantize = command(
        policy_commands,
        "quantize",
        "make the models of a loop int8 or float16, if they answer as well, and no slower",
        "rtloop policy quantize robot.yaml --to int8 --calibration rtloop-runs/RUN/run.mcap",
    )
    quantize.set_defaults(command="policy quantize")
    quantize.add_argument("file", type=path, metavar="FILE", help="the YAML configuration")
    quantize.add_argument("--to", choices=("int8", "float16"), required=True, help="the new type")
    quantize.add_argument(
        "--calibration",
        type=path,
        metavar="RUN.mcap",
        help="a recording of the loop: its inputs tell the ranges of values",
    )
    quantize.add_argument(
        "--cases",
        type=path,
        metavar="FILE.npz",
        help="inputs that the error is told of, as docs/verify.md says (default: the recording's second half)",
    )
    quantize.add_argument(
        "-o",
        dest="out",
        type=path,
        metavar="OUT.onnx",
        help="the new model; of several a folder (default: beside the model, as policy.int8.onnx)",
    )
    quantize.add_argument(
        "--plant",
        metavar="MODULE:FUNCTION",
        help="what runs a policy on its plant: takes a path, returns numbers by name; `score` is judged "
        "(default: that of the demo whose policy it is, if any)",
    )
    quantize.add_argument(
        "--max-error",
        type=positive,
        default=0.02,
        metavar="X",
        help="refuse a larger error of any element, of its range (default 0.02)",
    )
    quantize.add_argument(
        "--max-time",
        type=positive,
        default=1.0,
        metavar="X",
        help="refuse what takes more than so many times the time in float32 (default 1.0)",
    )
    quantize.add_argument(
        "--max-loss",
        type=positive,
        default=0.02,
        metavar="X",
        help="refuse a score on the plant that is less by more than this share (default 0.02)",
    )
    quantize.add_argument(
        "--seconds",
        type=positive,
        default=3.0,
        metavar="S",
        help="to measure both in turn (default 3)",
    )
    quantize.add_argument("--json", action="store_true", help="for machines")
    for each in (show, verify, bench, quantize):
        each.add_argument("--loop", metavar="NAME", help="which loop, where there are several")
        each.add_argument(
            "--policy", metavar="NAME", help="which policy of it, where there are several"
        )


def _add_run_options(parser: argparse.ArgumentParser, duration: float | None = None) -> None:
    until = "until Ctrl-C" if duration is None else f"{duration:g}; 0 is until Ctrl-C"
    parser.add_argument(
        "--duration",
        type=seconds,
        default=duration,
        metavar="S",
        help=f"seconds to run (default: {until})",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.add_argument("--no-record", action="store_true", help="record nothing")
    parser.add_argument("--no-report", action="store_true", help="render no report")
