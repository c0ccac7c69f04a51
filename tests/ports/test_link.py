"""A link as a port: opened once, agreed on anew before every activation, armed last."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from rtloop.config.config import Config
from rtloop.errors import ConfigError, LinkError
from rtloop.link import DeviceState, Reason
from rtloop.link.port import LinkPort
from rtloop.link.section import LinkConfig
from rtloop.ports.around import Around
from rtloop.ports.link import LinkInput, LinkOutput
from rtloop.ports.signal import Signal
from tests.config.example import small
from tests.firmware.reference import Packet, schema_id
from tests.link.scripted_device import ScriptedDevice


@pytest.fixture
def device() -> Iterator[ScriptedDevice]:
    with ScriptedDevice() as device:
        yield device


def configured(
    device: ScriptedDevice, folder: Path, keys: str = "rate_hz: 100", **link: int
) -> Config:
    tree = yaml.safe_load(small(keys))
    tree["links"] = {"arm": {"device": device.path, "command_timeout_ms": 40, **link}}
    return Config.model_validate(tree, context={"folder": str(folder)})


def opened(config: Config) -> LinkPort:
    return LinkInput(link="arm").open("joints", config.loops["a"], Around(config.links))


def names(device: ScriptedDevice) -> list[str]:
    """What was asked since the last call, each run of one request once."""
    found = device.names()
    device.requests.clear()
    return [name for i, name in enumerate(found) if i == 0 or name != found[i - 1]]


def test_an_output_knows_its_size_where_the_file_tells_it() -> None:
    assert LinkOutput(link="a", safe=0.0).element_count is None
    assert LinkOutput(link="a", safe=0.0, max=(1.0, 2.0)).element_count == 2


def test_the_default_command_is_the_safe_one_unless_given() -> None:
    assert LinkOutput(link="a", safe=(0.5,)).default_or_safe == (0.5,)
    assert LinkOutput(link="a", safe=(0.5,), default=0.0).default_or_safe == 0.0


def test_only_the_device_knows_the_elements_of_a_link() -> None:
    section = LinkInput(link="arm")
    assert (section.named, section.element_names, section.element_count) == (True, None, None)
    assert section.element_limit == 128
    assert section.identity == LinkOutput(link="arm", safe=0.0).identity == ("link", "arm")


def test_the_sections_know_the_device_before_it_is_there(
    device: ScriptedDevice, folder: Path
) -> None:
    config = configured(device, folder)
    assert LinkInput(link="arm").hardware_id(config.links) == device.path
    assert LinkOutput(link="arm", safe=0.0).hardware_id(config.links) == device.path
    assert device.requests == []


def test_opening_shakes_hands_and_arms_nothing(device: ScriptedDevice, folder: Path) -> None:
    port = opened(configured(device, folder))
    assert (port.name, port.hardware_id) == ("arm", device.path)
    assert port.inputs == (Signal("a", "m"), Signal("b", "m/s"))
    assert port.outputs == (Signal("c", "N"),)
    port.close()
    port.close()
    assert names(device) == ["hello", "schema_request", "time_request"]


def test_an_activation_agrees_on_the_clock_then_arms_then_stops(
    device: ScriptedDevice, folder: Path
) -> None:
    port = opened(configured(device, folder))
    names(device)
    for _ in range(2):
        port.prepare()
        assert (port.core.n_inputs, port.core.n_outputs) == (2, 1)
        assert names(device) == ["hello", "time_request"]
        assert device.state == DeviceState.IDLE
        port.arm(clear=False)
        arm = device.requests[-2]
        assert arm.fields["command_timeout_us"] == 40_000
        assert (arm.fields["loop_class"], arm.fields["max_late_commands"]) == (2, 0)
        assert names(device) == ["hello", "arm", "hello"]
        assert port.stop() == ""
        assert names(device) == ["stop"]
        device.state = DeviceState.IDLE
    port.close()


def test_a_hard_loop_trips_the_device_with_its_first_late_command(
    device: ScriptedDevice, folder: Path
) -> None:
    config = configured(device, folder)
    loop = config.loops["a"].with_values(loop_class="hard")
    port = LinkPort.open("arm", loop, config.links["arm"])
    port.prepare()
    port.arm(clear=False)
    arm = device.requests[-2]
    assert (arm.fields["loop_class"], arm.fields["max_late_commands"]) == (0, 1)
    port.close()


def test_a_device_that_allows_no_such_timeout_says_so(device: ScriptedDevice, folder: Path) -> None:
    port = opened(configured(device, folder))
    device.script = lambda request: (
        [("device_status", device.status())] if request.name == "arm" else None
    )
    port.prepare()
    with pytest.raises(LinkError, match="timeout of 40 ms.*lower command_timeout_ms"):
        port.arm(clear=False)
    port.close()


def test_a_device_that_does_not_confirm_stop_is_a_problem(
    device: ScriptedDevice, folder: Path
) -> None:
    port = opened(configured(device, folder))
    port.prepare()
    port.arm(clear=False)
    device.script = lambda request: [] if request.name == "stop" else None
    assert "did not confirm STOP" in port.stop()
    status = {**device.status(), "state": int(DeviceState.ACTIVE)}
    device.script = lambda request: [("device_status", status)] if request.name == "stop" else None
    assert "did not confirm STOP" in port.stop()
    port.close()


def test_an_input_that_asks_for_younger_samples_than_the_device_sends_is_refused(
    device: ScriptedDevice, folder: Path
) -> None:
    config = configured(device, folder)  # 100 Hz

    def open_with(max_age_ms: float) -> LinkPort:
        section = LinkInput(link="arm", max_age_ms=max_age_ms)
        return section.open("joints", config.loops["a"], Around(config.links))

    with pytest.raises(ConfigError, match="input 'joints': max_age_ms is 9.9, .* every 10 ms"):
        open_with(9.9)
    open_with(10).close()  # and the line is free


def test_a_time_out_in_which_no_sample_of_the_device_comes_is_refused(
    device: ScriptedDevice, folder: Path
) -> None:
    def open_with(timeout_ms: float) -> LinkPort:
        tree = yaml.safe_load(small("rate_hz: 200"))
        tree["links"] = {"arm": {"device": device.path, "command_timeout_ms": 40}}
        tree["loops"]["a"]["inputs"] = {"q": {"link": "arm"}}  # 100 Hz
        tree["loops"]["a"]["clock"] = {"input": "q", "timeout_ms": timeout_ms}
        config = Config.model_validate(tree, context={"folder": str(folder)})
        return LinkInput(link="arm").open("q", config.loops["a"], Around(config.links))

    with pytest.raises(
        ConfigError, match="'q' paces the loop with a timeout_ms of 10, .* every 10 ms"
    ):
        open_with(10)
    open_with(10.1).close()


@pytest.mark.parametrize(
    ("intervals", "interval_us", "is_problem"),
    [
        (101, 10_000, False),
        (60, 19_000, False),
        (60, 21_000, True),
        (300, 4_000, True),
        (40, 21_000, False),  # not yet a second
    ],
)
def test_a_device_that_does_not_keep_its_announced_rate_is_a_problem(
    device: ScriptedDevice, folder: Path, intervals: int, interval_us: int, is_problem: bool
) -> None:
    port = opened(configured(device, folder))
    counted = {"sensor_intervals": intervals, "sensor_interval_ns": 1000 * interval_us}
    port.core = SimpleNamespace(counters=lambda: counted)  # type: ignore[assignment]
    problem = port.stop()
    assert ("had announced one every 10 ms" in problem) == is_problem
    assert problem == "" or f"every {interval_us / 1000:g} ms" in problem
    port.close()


@pytest.mark.parametrize(
    ("counted", "says"),
    [
        ({"rx_packets": 1002}, ""),
        ({"rx_packets": 992}, ""),  # 1 %
        ({"rx_packets": 991}, "11 of 1000 packets (1.1%)"),
        ({"rx_packets": 85, "crc_errors": 2, "frame_errors": 1}, "917 of 1000 packets (91.7%)"),
        ({"rx_packets": 1002, "rejected_commands": 10}, ""),
        ({"rx_packets": 1002, "rejected_commands": 11}, "rejected 11 commands of 1000 packets"),
        ({"rx_packets": 1002, "rejected_commands": 11, "reasons": Reason.LIMIT}, ""),  # for that
        ({"rx_packets": 0}, ""),  # it does not count
        ({"rx_packets": 85, "boot_id": 2}, ""),  # it restarted: counts of another time
    ],
)
def test_packets_that_do_not_arrive_or_are_rejected_are_a_problem(
    device: ScriptedDevice, folder: Path, counted: dict[str, int], says: str
) -> None:
    before = {"rx_packets": 2**32 - 400, "rejected_commands": 7, "crc_errors": 5}

    def script(request: Packet) -> list[tuple[str, dict[str, Any]]] | None:
        if request.name == "arm":
            device.ordinary(request)
            return [("device_status", {**device.status(), **before})]
        if request.name == "stop":
            ended = {name: counted.get(name, 0) + n & 0xFFFFFFFF for name, n in before.items()}
            ended["frame_errors"] = counted.get("frame_errors", 0)
            status = {**device.status(), "state": 4, "reasons": Reason.HOST_STOP}
            return [("device_status", {**status, **counted, **ended})]
        return None

    device.script = script
    port = opened(configured(device, folder))
    port.prepare()
    port.arm(clear=False)
    counters = {**port.core.counters(), "tx_packets": 1000}
    port.core = SimpleNamespace(counters=lambda: counters)  # type: ignore[assignment]
    problem = port.stop()
    assert (says in problem) if says else problem == ""
    assert "3 damaged frames" in problem or "917" not in says
    port.close()


def test_a_device_that_restarted_in_between_is_opened_anew(
    device: ScriptedDevice, folder: Path
) -> None:
    port = opened(configured(device, folder))
    port.prepare()
    names(device)
    device.boot_id += 1
    port.prepare()
    assert "schema_request" in names(device)
    port.arm(clear=False)
    port.close()


def test_a_device_that_came_back_with_another_schema_is_refused(
    device: ScriptedDevice, folder: Path
) -> None:
    port = opened(configured(device, folder))
    port.prepare()
    device.boot_id += 1
    device.schema = device.schema.replace("command c N", "command c V")
    device.schema_id = schema_id(device.schema)
    for _ in range(2):
        with pytest.raises(LinkError, match="'arm'.*another schema.*configure the loop anew"):
            port.prepare()
    port.close()


def test_a_latched_device_is_armed_only_with_clear(device: ScriptedDevice, folder: Path) -> None:
    port = opened(configured(device, folder))
    device.state, device.reasons = DeviceState.SAFE, Reason.LIMIT
    port.prepare()
    with pytest.raises(LinkError, match="latched SAFE: LIMIT"):
        port.arm(clear=False)
    port.arm(clear=True)
    port.close()


def test_a_line_that_is_too_slow_for_the_loop_is_refused_and_closed(
    device: ScriptedDevice, folder: Path
) -> None:
    config = configured(device, folder, baud=38400)
    loop = config.loops["a"].with_values(rate_hz=1000)
    with pytest.raises(ConfigError, match="the line cannot carry 1000 Hz"):
        LinkPort.open("arm", loop, config.links["arm"])
    opened(configured(device, folder)).close()


def test_a_lost_link_says_what_to_do_next(device: ScriptedDevice, folder: Path) -> None:
    port = opened(configured(device, folder))
    assert port.loss(errno.EIO) == (
        f"the link 'arm' ({device.path}) was lost: Input/output error. Whether the safe "
        "command still reached the device is not known; it goes SAFE by its command timeout. Check "
        "cable and device"
    )
    port.close()


def test_a_device_that_latched_safe_says_why(device: ScriptedDevice, folder: Path) -> None:
    port = opened(configured(device, folder))
    port.prepare()
    assert port.device_safe() == (
        "the device of link 'arm' (no reason) latched SAFE by itself. Find out why, then activate "
        "the loop anew with --clear"
    )
    port.close()


@pytest.mark.parametrize("device", ["tcp://10.0.0.2:5555", "serial:///dev/tty"])
def test_a_scheme_that_no_transport_has_is_told_what_there_is(device: str) -> None:
    (problem,) = LinkConfig(device=device).rules(("links", "arm"))
    assert problem.keys == ("links", "arm", "device")
    assert problem.expected == "the path of a serial device, udp://HOST:PORT or zmq+tcp://HOST:PORT"
