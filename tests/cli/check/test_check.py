"""``check`` means ``run``: what one refuses, the other refuses, in the same words and places."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from rtloop.cli.check import check
from rtloop.cli.main import main
from rtloop.config import load
from rtloop.errors import ConfigError, Finding, HostRefusedError
from rtloop.policy import load_policy
from rtloop.telemetry.observe.ring import RING_DIRECTORY
from rtloop.telemetry.recorder.pointer import read_pointer
from tests.cli.check.loops import ALONE, TEXT, checked, run, written
from tests.policy.models import save
from tests.running import POLICY, write_config

A, B = "loops.a.policy", "loops.b.policy"

BROKEN: dict[str, tuple[str, dict[str, str], list[str]]] = {
    "a key": (
        TEXT,
        {"safe: 0}}\n    realtime": "save: 0}}\n    realtime"},
        ["nearest known key"] * 2,
    ),
    "a missing policy": (TEXT, {"three": "thre"}, [f"{A}.model: found", f"{B}.model: found"]),
    "no policy": (TEXT, {"three": "text"}, [f"{A}.model: ", f"{B}.model: "]),
    "dimensions": (
        TEXT,
        {"three": "dynamic"},
        [f"{A}.model: ", 'fix_dimensions: {"X[0]": <size>}'],
    ),
    "too much observed": (
        TEXT,
        {"target, select: [1]": "target", "[{input: x}]": "[{input: x}, {previous_action: true}]"},
        [f"{A}.observation: found an observation of at least 4 values", f"{B}.observation: "],
    ),
    "too much selected of a device": (
        TEXT,
        {"{input: cart}": "{input: cart, select: [u, v]}"},
        [f"{A}.observation: found an observation of 4 values (input 'cart': 2, "],
    ),
    "a device that is read twice": (
        TEXT,
        {
            "three": "four",
            "{input: cart}": "{input: cart}, {input: cart}",
            "[{input: x}]": "[{input: x}, {input: x, select: [0]}]",
            "size: 3": "size: 4",
            ", {previous_action: true, select: [0]}": "",
        },
        [f"{A}.observation: found an observation of either more or fewer than 4 values"],
    ),
    "outputs": (
        TEXT,
        {"cart, safe: 0": "cart, safe: [0, 0]", "size: 3": "size: 2"},
        [
            "loops.a.outputs: found outputs of 2 values (cart 2)",
            "loops.b.outputs: found outputs of 2",
        ],
    ),
    "scales": (
        TEXT,
        {
            "previous_action: true, select: [0]": "previous_action: true, select: [3]",
            "[{input: x}]": "[{input: x}]\n      action: {scale: [1, 2]}\n",
            "size: 3, safe: 0": "size: 2, safe: 0",
        },
        [
            f"{A}.observation[2].select[0]: found 3; expected an index below 3",
            f"{B}.action.scale: found",
        ],
    ),
    "state": (
        TEXT,
        {"three.onnx": "three.onnx\n      state: {h: o}"},
        [f"{A}.state: ", f"{B}.state: "],
    ),
    "a folder": (
        TEXT,
        {"directory: runs": "directory: file/runs"},
        ["recording.directory: cannot create a folder"],
    ),
    "a file": (
        TEXT,
        {"directory: runs": "directory: file"},
        ["recording.directory: cannot create a folder"],
    ),
    "a group": (
        TEXT,
        {"runs}": "runs, group: nobody of that name}"},
        ["recording.group: there is no"],
    ),
    "all at once": (
        TEXT,
        {"directory: runs": "directory: file/runs", "three": "text"},
        [f"{A}.model: ", f"{B}.model: ", "recording.directory: "],
    ),
    "a ring": (
        ALONE,
        {"rate_hz: 100": "rate_hz: 20000\n    ring_seconds: 86400"},
        ["loops.b.ring_seconds: found a ring of 1728000000 cycles, for which /dev/shm has no room"],
    ),
    "rights": (
        ALONE,
        {"scheduler: other": "scheduler: other, cpu_affinity: [8191], on_denied: fail"},
        ["loops.b.realtime.cpu_affinity: demanded"],
    ),
    "time": (
        ALONE,
        {
            "three": "slow",
            "rate_hz: 100": "rate_hz: 100\n    deadline_ms: 0.001\n    budget_ms: 0.001",
        },
        ["loops.b.deadline_ms: found a policy that takes N ms in the", "loops.b.budget_ms: found"],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_check_refuses_run_refuses_in_the_same_words(name: str, folder: Path) -> None:
    text, changes, expected = BROKEN[name]
    path = written(folder, text, changes)
    found = checked(path)
    assert run(path) == found
    assert len(found) >= len(expected)
    for part in expected:
        assert any(part in line for line in found), found
    for line in found:
        assert re.match(rf"{re.escape(str(path))}:\d+:\d+: [a-z]", line), line


@pytest.mark.parametrize(
    ("name", "code"), [("dimensions", 2), ("a folder", 1), ("rights", 3), ("time", 2), ("ring", 1)]
)
def test_both_end_with_the_same_exit_code(name: str, code: int, folder: Path) -> None:
    text, changes, _ = BROKEN.get(name) or BROKEN["a ring"]
    path = written(folder, text, changes)
    assert main(["check", str(path)]) == code
    assert main(["run", str(path), "--duration", "0.1"]) == code


def ring_folders_of_this_process() -> list[Path]:
    found = []
    for folder in RING_DIRECTORY.glob("*-check*"):
        with suppress(OSError, ValueError):  # those of others come and go
            pointer = read_pointer(folder)
            if pointer is not None and pointer.process.pid == os.getpid():
                found.append(folder)
    return found


@pytest.mark.parametrize("text", [TEXT, ALONE])
def test_a_check_of_what_can_run_finds_nothing_and_leaves_nothing(text: str, folder: Path) -> None:
    path = written(folder, text, {})
    before = sorted(folder.iterdir())
    found = check(path)
    assert found.error is None
    assert sorted(folder.iterdir()) == before
    assert ring_folders_of_this_process() == []
    assert found.loops[-1].timed_runs >= 20
    assert 0 < (found.loops[-1].inference_p50_us or 0) <= (found.loops[-1].inference_p99_us or 0)
    assert [w.place.key for w in found.warnings] == (["links.cart.device"] if text == TEXT else [])
    assert f"{path} is valid" in str(found)


def test_every_thread_is_asked_for_its_rights(folder: Path) -> None:
    found = check(written(folder, ALONE, {"scheduler: other": "scheduler: fifo"}))
    assert {"b scheduler", "b guard scheduler"} <= {right.name for right in found.rights}


def test_a_tail_of_slow_runs_is_a_warning(folder: Path) -> None:
    from rtloop.judge import judge_time

    config = load(written(folder, ALONE, {}))
    slow = np.full(200, 1_000_000, np.int64)
    assert judge_time(config, "b", slow) == []
    slow[::50] = 11_000_000
    (warning,) = judge_time(config, "b", slow)
    assert warning.severity == "warning"
    assert "found a policy that takes 11 ms once in a hundred times" in warning.message
    slow[:] = 10_000_001
    (error,) = judge_time(config, "b", slow)
    assert error.severity == "error"
    assert "expected at most 10 ms, its deadline: take a smaller" in error.message


_WITHOUT_RIGHTS = ["prlimit", "--memlock=65536", "setpriv", "--bounding-set=-ipc_lock"]


@pytest.mark.skipif(
    os.geteuid() != 0 or None in map(shutil.which, ("prlimit", "setpriv")),
    reason="needs root, to do without what root may",
)
@pytest.mark.parametrize("command", ["check", "run"])
def test_memory_that_cannot_be_locked_is_refused_where_it_is_demanded(
    command: str, folder: Path
) -> None:
    path = written(folder, ALONE, {"lock_memory: false": "lock_memory: true, on_denied: fail"})
    program = [*_WITHOUT_RIGHTS, sys.executable, "-m", "rtloop.cli", command, str(path)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stderr
    place = f"rtloop: {path}:10:47: loops.b.realtime.lock_memory: demanded (on_denied: fail), and denied:"
    assert done.stderr.startswith(place)


def test_rings_that_fit_only_while_memory_is_not_locked_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a user with a finite RLIMIT_MEMLOCK: what is made behind mlockall counts against it."""
    from rtloop import core
    from rtloop.realtime.rights import RightReport

    made: list[str] = []
    real = core.RingWriter

    def ring(path: str, *sizes: Any) -> Any:
        made.append(path)
        if len(made) > 1:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        return real(path, *sizes)

    locked = RightReport("lock_memory", "all", "all", True)
    monkeypatch.setattr(core, "RingWriter", ring)
    monkeypatch.setattr("rtloop.cli.check.ProcessRights.of", lambda *_: [locked])
    monkeypatch.setattr("resource.getrlimit", lambda _: (1 << 27, 1 << 27))
    found = check(written(folder, ALONE, {}))
    assert str(found.error).partition(": ")[2] == (
        "loops.b.ring_seconds: found a ring of 6000 cycles, for which RLIMIT_MEMLOCK has no room beside "
        "the others; expected a smaller ring_seconds, a lower rate, or a higher limit (ulimit -l)"
    )


def test_errors_of_several_kinds_are_one_and_a_wrong_configuration_counts_first() -> None:
    from rtloop.errors import raise_all

    raise_all([])
    errors = [HostRefusedError("rights"), ConfigError([Finding("x"), Finding("y")])]
    with pytest.raises(ConfigError) as caught:
        raise_all(errors)
    assert str(caught.value) == "rights\nx\ny"


def test_the_demo_passes_the_check(folder: Path) -> None:
    path = write_config(folder, folder / "tty", POLICY)
    assert check(path).error is None


def test_a_policy_that_gives_nan_on_zeros_is_warned_of(folder: Path) -> None:
    border = [(name, TensorProto.FLOAT, [1, 3]) for name in ("obs", "action")]
    log = helper.make_node("Log", ["obs"], ["action"])
    (folder / "log.onnx").write_bytes(save([log], border[:1], border[1:], {}))
    found = check(written(folder, ALONE, {"three": "log"}))
    assert found.exit_code == 0
    assert any(
        "loops.b.policy.model: found a policy that gives NaN or infinity ('action')" in str(warning)
        for warning in found.warnings
    )
    assert not any("NaN" in str(w) for w in check(written(folder, ALONE, {})).warnings)


def test_a_pipe_in_the_place_of_a_policy_is_no_file(folder: Path) -> None:
    os.mkfifo(folder / "pipe.onnx")
    path = written(folder, ALONE, {"three": "pipe"})
    (line,) = checked(path)
    assert "pipe.onnx', a pipe, socket or device" in line
    assert "expected an .onnx file" in line
    with pytest.raises(ConfigError, match=r"pipe.onnx: no regular file; name an .onnx file"):
        load_policy(folder / "pipe.onnx")
