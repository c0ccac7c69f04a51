"""The programs of examples/, as a reader would run them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import background, firmware, wait_until_running, write_config

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: object, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("program", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_short(program: Path) -> None:
    assert len(program.read_text().splitlines()) <= 25


def test_a_loop_between_mailboxes_gives_a_recording_that_numpy_reads(tmp_path: Path) -> None:
    said = run("mailbox_loop.py", folder=tmp_path)
    assert said.count("rad ->") == 10
    assert " ms ago" in said
    (recording,) = tmp_path.glob("rtloop-runs/*/run.mcap")
    assert str(recording.relative_to(tmp_path)) in said

    told = run("read_recording.py", recording, folder=tmp_path).splitlines()
    assert told[0] == recording.parent.name
    assert told[1].startswith("balance: ")
    assert [line.split()[0] for line in told[2:]] == [f"cart.{i}" for i in range(4)] + ["force.0"]


def test_a_program_that_lacks_its_argument_says_how_it_is_called() -> None:
    program = EXAMPLES / "read_recording.py"
    done = subprocess.run([sys.executable, program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "python examples/read_recording.py rtloop-runs/RUN/run.mcap" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_loop_is_built_fed_and_read_back_in_python(tmp_path: Path) -> None:
    summary, told = run("built_in_python.py", folder=tmp_path).splitlines()
    assert summary.startswith("<RunSummary balance: soft, 200 Hz, ")
    assert " cycles, +" in told, "the force is towards where the pole leans"
    (recording,) = tmp_path.glob("rtloop-runs/*-python/run.mcap")
    assert run("read_recording.py", recording, folder=tmp_path).startswith(recording.parent.name)


def test_a_loop_runs_at_several_rates(tmp_path: Path) -> None:
    lines = run("rate_sweep.py", folder=tmp_path).splitlines()
    assert [line.split(":")[0] for line in lines] == ["100 Hz", "200 Hz", "500 Hz"]
    assert not list(tmp_path.iterdir()), "nothing was recorded"


def test_a_loop_is_watched_from_another_process_until_it_ends(tmp_path: Path) -> None:
    with firmware(tmp_path) as device:
        config = write_config(tmp_path, device.link)
        with background(["run", config, "--no-record", "--duration", "3"]) as process:
            ring = wait_until_running(process)
            said = run("watch_ring.py", ring.parent.name, folder=tmp_path)
            assert process.wait(timeout=30) == 0
    assert said.count("balance: ") > 1
