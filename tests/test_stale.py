"""A sender that died must not be obeyed for ever: `on_stale: {use: ...}`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rtloop.config import load
from rtloop.errors import ConfigError
from rtloop.run import Run
from rtloop.telemetry.observe.ring import Ring
from tests.running import firmware, rings_of, rtloop, wait_for, write_config

#: What is commanded is what was read.
TEXT = """\
recording: {enabled: false, directory: FOLDER/runs}
loops:
  base:
    class: soft
    rate_hz: 200
    inputs:
      velocity: {mailbox: true, names: [x, yaw], max_age_ms: 100, on_stale: {use: VALUES}}
    policy: {observation: [{input: velocity}]}
    outputs: {wheels: {mailbox: true, names: [x, yaw], safe: 0}}
    realtime: {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}
    max_share: {missed: 1, skipped: 1, stale: 1, held: 1}
"""


def written(folder: Path, values: str, **changes: str) -> Path:
    text = TEXT.replace("FOLDER", str(folder)).replace("VALUES", values)
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "base.yaml"
    path.write_text(text)
    return path


def test_a_command_that_nobody_renews_becomes_what_the_file_says(tmp_path: Path) -> None:
    config = load(written(tmp_path, "{x: 0.25, '*': 0}"))
    with Run(config, "stale") as run:  # nothing was written yet, and nothing is waited for
        loop = run.loops["base"]

        def commanded() -> list[float]:
            return [float(value) for value in loop.read_output("wheels")[0]]

        wait_for(lambda: commanded() == [0.25, 0.0], "what stands in")
        loop.write_input("velocity", [3, 4])
        wait_for(lambda: commanded() == [3.0, 4.0], "the command")
        wait_for(lambda: commanded() == [0.25, 0.0], "what stands in for it again")
        (path,) = rings_of(os.getpid())
        batch = Ring(path).read()
        is_stale = batch.records["events"] & 4 > 0
        held = batch.records["outcome"] == 3
        assert is_stale.any()
        assert not is_stale.all()
        assert not held.any(), "a cycle with a stale input was computed all the same"
        assert (batch.inputs[is_stale] == [0.25, 0.0]).all(), "recorded is what the policy saw"
        assert (batch.inputs[~is_stale] == [3.0, 4.0]).all()


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (
            "[1, 2, 3]",
            "on_stale.use: found a list of 3; expected 2, one for each element of the input",
        ),
        ("{x: 0}", "on_stale.use: found no value for 'yaw'; expected a value for each element"),
        (
            "{x: 0, yav: 0, '*': 1}",
            "on_stale.use.yav: found the name 'yav'; expected an element of the input: x or yaw; nearest 'yaw'",
        ),
        ("{x: .nan, yaw: 0}", "on_stale.use.x: found .nan; expected a finite number"),
        ("zero", "on_stale.use: found 'zero'; expected a number, or a list of numbers"),
    ],
)
def test_each_element_has_one_value(tmp_path: Path, values: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, values))
    (line,) = str(caught.value).split("\n")
    assert complaint in line
    assert f"base.yaml:{TEXT[: TEXT.index('velocity')].count(chr(10)) + 1}:" in line


def test_what_was_made_up_is_not_held(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="output 'wheels' holds this input when all ends"):
        load(written(tmp_path, "0", **{"safe: 0": "safe: {hold: velocity}"}))


def test_it_needs_an_age(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected max_age_ms beside it"):
        load(written(tmp_path, "0", **{"max_age_ms: 100, ": ""}))


def test_a_node_may_leave_such_a_mailbox_unwritten(tmp_path: Path) -> None:
    told = rtloop("check", str(written(tmp_path, "0")))
    assert told.returncode == 0, told.stderr
    assert "input 'velocity' is stale, and on_stale stands in for it" in told.stdout


@pytest.mark.parametrize(
    ("values", "complaint"),
    [("[0, 0]", "found a list of 2; expected 4"), ("{nobody: 0}", "found the name 'nobody'")],
)
def test_the_elements_of_a_device_are_judged_when_it_is_there(
    tmp_path: Path, values: str, complaint: str
) -> None:
    with firmware(tmp_path) as device:
        path = write_config(tmp_path, device.link)
        text = path.read_text().replace("on_stale: hold", f"on_stale: {{use: {values}}}")
        path.write_text(text)
        with pytest.raises(ConfigError, match=complaint):
            Run(load(path), "stale").configure()
