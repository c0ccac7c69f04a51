"""From a configuration to parts, on a kind of port that costs nothing."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from rtloop import core
from rtloop.build import build
from rtloop.config import Config, loads
from rtloop.errors import ConfigError, LinkError, Place, RtloopError
from rtloop.opening import port_errors
from rtloop.ports.mailbox import MailboxPort
from rtloop.ports.signal import Signal
from tests.policy.models import linear
from tests.ports.conftest import toy

__all__ = ["toy"]

TEXT = """\
loops:
  a:
    class: soft
    rate_hz: 100
    inputs: {ramp: {toy: t, step: 2.0, max_age_ms: 50}, target: {mailbox: [5.0]}}
    policy:
      model: MODEL
      observation: [{input: ramp, select: [high]}, {input: target}]
    outputs: {log: {toy: t, safe: 0}}
"""
"""``log`` = ``ramp.high`` + ``target``"""


@pytest.fixture
def config(tmp_path: Path, toy: ModuleType) -> Config:
    (tmp_path / "sum.onnx").write_bytes(linear(np.ones((2, 1), np.float32)))
    return loads(TEXT.replace("MODEL", "sum.onnx"), str(tmp_path / "loops.yaml"))


def test_parts_are_opened_and_composed(config: Config) -> None:
    parts = build(config, "a")
    assert [port.name for port in parts.ports] == ["t", "target"]
    assert parts.inputs == (Signal("ramp.low", "m"), Signal("ramp.high", "m"), Signal("target.0"))
    assert parts.outputs == (Signal("log.logged", "N"),)
    graph = parts.policies[""].graph
    assert (graph.observation_size, graph.action.size) == (2, 1)
    assert parts.onnxruntime_version == parts.runner.onnxruntime_version
    assert parts.core_config.name == "a"
    parts.close()


def test_sections_that_name_one_thing_share_one_port(config: Config, toy: ModuleType) -> None:
    parts = build(config, "a")
    assert parts.input_ports["ramp"] is parts.output_ports["log"]
    assert toy.ToyPort.opened == 1
    parts.close()
    assert toy.ToyPort.closed == 1


def test_the_parts_run(config: Config, tmp_path: Path) -> None:
    parts = build(config, "a")
    for i in range(2):  # as often as one likes
        for port in parts.ports:
            port.prepare()
        ring = core.RingWriter(str(tmp_path / f"{i}.ring"), 16, 2, 3, 1, b"{}")
        cores = [port.core for port in parts.ports]
        loop = core.Loop(parts.core_config, cores, parts.runner, ring, core.MonotonicClock())
        for port in parts.ports:
            port.arm(clear=False)
        loop.begin()
        assert loop.step()
        values, _ = parts.output_ports["log"].core.newest()
        assert values.tolist() == [2.0 + 5.0]
        loop.end()
        for port in parts.ports:
            port.stop()
    parts.close()


def refused(config: Config, error: type[RtloopError]) -> str:
    with pytest.raises(error) as caught:
        build(config, "a")
    return str(caught.value)


def test_what_was_opened_is_closed_when_the_rest_fails(
    config: Config, tmp_path: Path, toy: ModuleType
) -> None:
    (tmp_path / "sum.onnx").write_bytes(linear(np.ones((2, 3), np.float32)))
    assert refused(config, ConfigError) == (
        f"{tmp_path}/loops.yaml:9:14: loops.a.outputs: found outputs of 1 values (log 1); expected "
        "3, the size of the policy's action"
    )
    assert (toy.ToyPort.opened, toy.ToyPort.closed) == (1, 1)


def test_a_core_that_refuses_is_an_error_of_the_loop(
    config: Config, monkeypatch: pytest.MonkeyPatch, toy: ModuleType
) -> None:
    monkeypatch.setattr("rtloop.policy.runner.onnxruntime_library", lambda: "/nowhere")
    place = f"{config.path}:7:14: loops.a.policy.model: "
    assert refused(config, RtloopError).startswith(f"{place}loop 'a' cannot be configured: ")
    assert (toy.ToyPort.opened, toy.ToyPort.closed) == (1, 1)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(5, "Input/output error"), "[Errno 5] Input/output error"),
        (ValueError("no such baud rate"), "no such baud rate"),
        (RuntimeError("the core's port says no"), "the core's port says no"),
        (KeyError(), "KeyError"),
    ],
)
def test_whatever_a_port_raises_is_an_error_of_the_loop_that_names_the_port(
    error: Exception, told: str, config: Config, monkeypatch: pytest.MonkeyPatch, toy: ModuleType
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(toy.ToyPort, "__init__", fail)
    message = refused(config, RtloopError)
    place = f"{config.path}:5:26: loops.a.inputs.ramp.toy: "
    assert message == f"{place}loop 'a': port 't' could not be opened: {told}"
    with pytest.raises(LinkError, match="as it is"), port_errors("a", "t", "opened", Place()):
        raise LinkError("as it is")


def test_a_core_port_that_refuses_its_options_is_an_error_of_the_loop(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        MailboxPort,
        "prepare",
        lambda self: setattr(self, "core", core.Port("mailbox", {"safe": 1})),
    )
    assert (
        "loops.a.inputs.target.mailbox: loop 'a': port 'target' could not be opened: "
        in refused(config, RtloopError)
    )


def test_a_list_that_does_not_fit_the_device_is_told_with_its_place(
    tmp_path: Path, config: Config
) -> None:
    text = config.source_text.replace("safe: 0}", "safe: [0, 0], max: [1, 1]}")
    with pytest.raises(ConfigError) as caught:
        build(loads(text, str(tmp_path / "loops.yaml")), "a")
    expected = "expected 1, the size of the command of port 't', or one number for all"
    assert str(caught.value).splitlines() == [
        f"{tmp_path}/loops.yaml:9:35: loops.a.outputs.log.safe: found a list of 2; {expected}",
        f"{tmp_path}/loops.yaml:9:48: loops.a.outputs.log.max: found a list of 2; {expected}",
    ]
    assert caught.value.exit_code == 2


def test_an_unknown_element_is_told_with_its_place(tmp_path: Path, config: Config) -> None:
    text = config.source_text.replace("[high]", "[hihg]")
    with pytest.raises(ConfigError, match=r"observation\[0\].select\[0\]: found 'hihg'; expected "):
        build(loads(text, str(tmp_path / "loops.yaml")), "a")
