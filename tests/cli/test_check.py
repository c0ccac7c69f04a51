"""``check`` means ``run``: what one refuses, the other refuses, in the same words and places."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rtloop.cli.check import check
from rtloop.cli.main import main
from rtloop.config import load
from rtloop.errors import ConfigError, Finding, HostRefusedError, RtloopError
from rtloop.link import DeviceState, Link, Reason
from rtloop.policy import load_policy
from rtloop.run import Run
from rtloop.telemetry.observe.ring import RING_DIRECTORY
from tests.policy.models import linear, passthrough, save
from tests.running import POLICY, firmware, write_config

TEXT = """\
links:
  cart: {device: nothere}
recording: {directory: runs}
loops:
  a:
    class: firm
    rate_hz: 100
    inputs: {cart: {link: cart}, target: {mailbox: [0, 0]}}
    policy:
      model: three.onnx
      observation: [{input: cart}, {input: target, select: [1]}, {previous_action: true, select: [0]}]
    outputs: {cart: {link: cart, safe: 0}}
    realtime: {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}
  b:
    class: soft
    rate_hz: 100
    inputs: {x: {mailbox: [0, 0, 0]}}
    policy:
      model: three.onnx
      observation: [{input: x}]
    outputs: {y: {mailbox: true, size: 3, safe: 0}}
    realtime: {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}
"""
"""``a`` is on a device that is not there; its ``cart`` has one sensor and three commands, or nothing fits."""

ALONE = "loops:\n" + TEXT[TEXT.index("  b:") :]
"""A loop that runs without a device: what only its start can find is found."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "three.onnx").write_bytes(passthrough(3))
    (tmp_path / "four.onnx").write_bytes(passthrough(4))
    (tmp_path / "dynamic.onnx").write_bytes(linear(np.eye(3, dtype=np.float32), [1, "X[0]"]))
    (tmp_path / "slow.onnx").write_bytes(slow(3, 1000))
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "file").touch()
    return tmp_path


def slow(n: int, hidden: int) -> bytes:
    """obs [1, n] -> action [1, n], through more arithmetic than any CPU does in a microsecond."""
    weights = {
        name: np.ones(shape, np.float32)
        for name, shape in (("a", (n, hidden)), ("b", (hidden, hidden)), ("c", (hidden, n)))
    }
    values = ["obs", "one", "two", "action"]
    nodes = [
        helper.make_node("MatMul", [values[i], weight], [values[i + 1]])
        for i, weight in enumerate(weights)
    ]
    border = [(name, TensorProto.FLOAT, [1, n]) for name in ("obs", "action")]
    return save(nodes, border[:1], border[1:], weights)


def written(folder: Path, text: str, changes: dict[str, str]) -> Path:
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    path = folder / "loops.yaml"
    path.write_text(text)
    return path


def checked(path: Path) -> list[str]:
    error = check(path).error
    return [] if error is None else told(error)


def run(path: Path) -> list[str]:
    try:
        with Run(load(path), "test"):
            pass
    except RtloopError as error:
        return told(error)
    return []


def told(error: RtloopError) -> list[str]:
    """Its lines, without what was measured."""
    assert str(error) == "\n".join(map(str, error.findings))
    lines = str(error).splitlines()
    lines = [
        re.sub(r"takes [0-9.e-]+ ms(.*)of \d+ runs", r"takes N ms\1of N runs", x) for x in lines
    ]
    return [re.sub(r"[0-9.]+ MiB free", "N MiB free", line) for line in lines]


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


@pytest.mark.parametrize("text", [TEXT, ALONE])
def test_a_check_of_what_can_run_finds_nothing_and_leaves_nothing(text: str, folder: Path) -> None:
    path = written(folder, text, {})
    before = sorted(RING_DIRECTORY.glob("*-check*")), sorted(folder.iterdir())
    found = check(path)
    assert found.error is None
    assert (sorted(RING_DIRECTORY.glob("*-check*")), sorted(folder.iterdir())) == before
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


# --- the device ---


@pytest.fixture
def device(folder: Path) -> Iterator[Any]:
    with firmware(folder) as program:
        yield program


def state_of(device: Any) -> tuple[DeviceState, Reason]:
    link = Link.open("cart", str(device.link), 1_000_000)
    link.close()
    return link.info.device_state, link.info.reasons


def test_a_device_is_asked_and_left_as_it_was(folder: Path, device: Any) -> None:
    path = write_config(folder, device.link)
    found = check(path, device=True)
    assert found.error is None
    cart = found.devices["cart"]
    assert (cart["name"], cart["state"]) == ("cartpole", "IDLE")
    assert [command["name"] for command in cart["commands"]] == ["force"]
    assert cart["sensor_period_us"] > 0
    assert "'cartpole' on" in str(found)
    assert state_of(device)[0] == DeviceState.IDLE
    assert json.loads(json.dumps(found.as_dict()))["devices"]["cart"]["schema_id"] > 0


def test_a_device_that_is_not_there_is_an_error_once_it_is_asked(folder: Path) -> None:
    path = write_config(folder, folder / "nothere")
    assert check(path).error is None
    found = check(path, device=True)
    assert told(found.error or RtloopError()) == run(path)
    assert str(found.error).startswith(f"{path}:2:18: links.cart.device: link 'cart': ")
    assert found.exit_code == 1


def test_devices_that_are_not_there_are_told_all_at_once(folder: Path) -> None:
    text = TEXT + TEXT[TEXT.index("  a:") : TEXT.index("  b:")].replace("  a:", "  c:").replace(
        "cart", "second"
    )
    path = written(folder, text, {"links:\n": "links:\n  second: {device: ./nowhere}\n"})
    found = check(path, device=True)
    assert found.error is not None
    assert [f.place.key for f in found.error.findings] == [
        "links.cart.device",
        "links.second.device",
    ]
    assert told(found.error) == run(path)


def test_what_the_device_says_is_judged_as_in_a_run(folder: Path, device: Any) -> None:
    path = write_config(folder, device.link)
    path.write_text(
        path.read_text().replace("{input: cart}", "{input: cart, select: [a, b, c, d]}")
    )
    assert check(path).error is None  # there may be such a device
    found = check(path, device=True)
    assert told(found.error or RtloopError()) == run(path)
    place = (
        f"{path}:13:34: loops.balance.policy.observation[0].select[0]: found 'a'; expected a field"
    )
    assert str(found.error).startswith(place)
    assert found.exit_code == 2


def test_a_device_that_a_run_could_not_arm_is_an_error_and_stays_as_it_is(
    folder: Path, device: Any
) -> None:
    path = write_config(folder, device.link)
    link = Link.open("cart", str(device.link), 1_000_000)
    link.arm(loop_class=2)
    link.stop(Reason.LIMIT)
    link.close()
    latched = state_of(device)
    assert latched == (DeviceState.SAFE, Reason.LIMIT)
    found = check(path, device=True)
    assert "is latched SAFE: LIMIT. Find out why" in str(found.error)
    assert told(found.error or RtloopError()) == run(path)
    assert state_of(device)[0] == DeviceState.SAFE


# --- JSON ---


def json_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    code = main([*map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_problems_are_told_to_programs_with_their_places(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(
        folder, TEXT, {"rate_hz: 100": "rate_hz: fast", "{device: nothere}": "{device: 5}"}
    )
    code, found = json_of(capsys, "check", path)
    assert (code, found["exit_code"]) == (2, 2)
    assert (
        found["problems"][0]
        == {
            "file": str(path),
            "line": 2,
            "column": 18,
            "key": "links.cart.device",
            "found": "5",
            "expected": "text (path of the serial device)",
            "message": "found 5; expected text (path of the serial device)",
            "severity": "error",
        }
        or found["problems"][0]["key"] == "links.cart.device"
    )
    assert [p["key"] for p in found["problems"]] == [
        "links.cart.device",
        "loops.a.rate_hz",
        "loops.b.rate_hz",
    ]
    assert [p["line"] for p in found["problems"]] == [2, 7, 16]
    assert {p["severity"] for p in found["problems"]} == {"error"}
    assert "\n".join(found["error"].splitlines()) == found["error"]


def test_warnings_are_among_the_problems(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = json_of(capsys, "check", written(folder, TEXT, {}))
    assert code == 0
    assert "error" not in found
    (warning,) = found["problems"]
    assert (warning["key"], warning["severity"]) == ("links.cart.device", "warning")
    assert found["warnings"] == [f"{warning['file']}:2:18: links.cart.device: {warning['message']}"]


GUESSED = "state {h_in: h_out} was guessed from the names"
BATCH = "dimension 'N' is a batch and was fixed to 1"


@pytest.fixture
def concluding(folder: Path) -> Path:
    """A loop whose policy has a state by its names, a batch, and joints and pose in its metadata."""
    element = TensorProto.FLOAT
    state = [(name, element, [1, 4]) for name in ("h_in", "h_out")]
    model = save(
        [
            helper.make_node("Identity", ["obs"], ["action"]),
            helper.make_node("Identity", ["h_in"], ["h_out"]),
        ],
        [("obs", element, ["N", 3]), state[0]],
        [("action", element, ["N", 3]), state[1]],
        {},
    )
    proto = onnx.load_from_string(model)
    helper.set_model_props(proto, {"joint_names": "a,b,c", "default_joint_pos": "1,2,3"})
    (folder / "three.onnx").write_bytes(proto.SerializeToString())
    return written(folder, ALONE, {"size: 3": "names: [a, b, c]"})


def test_what_is_concluded_of_a_policy_is_told(
    concluding: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = json_of(capsys, "check", concluding)
    assert code == 0
    notes = found["loops"]["b"]["notes"]
    assert notes[:2] == [BATCH, GUESSED]
    assert [note.partition(" of the model's metadata")[0] for note in notes[2:4]] == [
        "joints are those",
        "default_joint_pos is that",
    ]
    assert [note.partition(":")[0] for note in notes[4:]] == [
        "nobody writes mailboxes in `rtloop run`"
    ]
    assert main(["check", str(concluding)]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  b: {note}\n" in text for note in notes)


def test_a_run_tells_what_it_concluded(
    concluding: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--duration", "0.1", "--no-record", "--no-report"]
    main(["run", str(concluding), *arguments])
    told = " ".join(capsys.readouterr().out.split())
    assert f"b: {GUESSED}" in told
    assert f"b: {BATCH}" in told


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["run", "nothere.yaml"], 2),
        (["run", "text.onnx"], 2),
        (["run"], 2),
        (["run", "nothere.yaml", "--duration", "-1"], 2),
        (["fly"], 2),
        (["check", "nothere.yaml"], 2),
        (["check", "nothere.yaml", "--nothing-like-that"], 2),
        (["demo", "nothere"], 2),
        (["report", "text.onnx"], 1),
        (["report", "nothere.mcap"], 1),
        (["report", "nothere.mcap", "--out", "~nobody of that name/x"], 2),
        (["recover", "text.onnx"], 1),
        (["recover", "nothere.mcap"], 1),
    ],
)
def test_every_command_tells_its_errors_as_json(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    given, found = json_of(capsys, *arguments)
    assert given == code
    if isinstance(found, list):  # recover says for each run what became of it
        assert [entry for entry in found if entry["error"]]
        return
    assert found["exit_code"] == code
    assert found["error"]
    assert found["problems"]
    for problem in found["problems"]:
        assert problem["message"] in found["error"]
        assert problem["severity"] == "error"


def test_without_json_errors_are_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "required: FILE" in told.err
    assert "usage: rtloop run" in told.err


def test_a_path_of_the_command_line_may_begin_with_a_tilde(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    written(folder, ALONE, {})
    assert main(["check", "~/loops.yaml"]) == 0
    assert f"{folder}/loops.yaml is valid" in capsys.readouterr().out
    assert main(["check", "~nobody-of-that-name/loops.yaml"]) == 2
    assert "no such user" in capsys.readouterr().err


# --- errors ---


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
