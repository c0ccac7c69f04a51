"""`rtloop check --device`: asked, and left as they were."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rtloop.cli.check import check
from rtloop.errors import RtloopError
from rtloop.link import DeviceState, Link, Reason
from tests.cli.check.loops import TEXT, run, told, written
from tests.running import firmware, write_config


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
