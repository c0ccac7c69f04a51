"""The table of loop_node's parameters, and what the node makes of what it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.nodes.ros import Client, loop_node, loop_node_here
from tests.running import firmware, write_config


def test_a_whole_number_is_meant_as_a_number_and_nothing_else_is_changed() -> None:
    from rtloop.nodes.parameters import as_meant

    assert repr(as_meant("diagnostics_rate_hz", 2)) == "2.0"
    assert as_meant("record", True) is True
    assert as_meant("diagnostics_rate_hz", True) is True
    assert as_meant("config", 2) == 2
    assert as_meant("somebody_else", 2) == 2


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("autostrat", "did you mean autostart?"),
        ("links.cart.devise", "did you mean links.<link>.device?"),
        ("clear", "~/rearm"),
        ("quite_another_thing", "which does nothing"),
    ],
)
def test_a_name_that_is_no_parameter_is_told_of(name: str, told: str) -> None:
    from rtloop.nodes.parameters import unknown

    assert unknown(name).startswith(f"unknown parameter {name}")
    assert unknown(name).endswith(told) or told in unknown(name)
    assert unknown(name, [name]) == ""


@pytest.mark.parametrize("name", ["config", "links.arm.device", "autostart"])
def test_a_name_of_the_table_is_known(name: str) -> None:
    from rtloop.nodes.parameters import parameter, unknown

    assert parameter(name) is not None
    assert unknown(name) == ""


def test_a_node_keeps_the_rules_of_its_parameters(tmp_path: Path) -> None:
    given = tmp_path / "given.yaml"
    given.write_text(
        "/**:\n  ros__parameters:\n    diagnostics.threshold.stale.warn: 1\n    recrod: false\n"
    )
    with firmware(tmp_path) as device, Client() as client:
        config = write_config(tmp_path, device.link)
        with loop_node(
            tmp_path,
            "--params-file",
            str(given),
            config=config,
            diagnostics_rate_hz=5,
            recording_directory=tmp_path / "elsewhere",
        ) as node:
            assert client.request("configure"), node.log
            assert "unknown parameter recrod, which does nothing; did you mean record?" in node.log
            assert client.parameter("diagnostics.threshold.stale.warn") == 1.0

            reason = client.refusal("config", "other.yaml")
            assert "the node is inactive" in reason
            assert "expected a cleanup first" in reason
            assert "inactive" in client.refusal("links.cart.device", "/dev/null")
            assert "inactive" in client.refusal("recording_directory", "/tmp")
            assert "expected one of stay, deactivate, exit" in client.refusal("on_fault", "panic")
            assert client.refusal("autostart", True), "it is read at the start alone"
            assert client.refusal("diagnostics.threshold.misses.warn", 2), "out of its range"
            client.set_parameter("diagnostics.threshold.misses.error", 1)

            assert client.request("activate"), node.log
            assert "the node is active" in client.refusal("config", "other.yaml")
            assert client.request("deactivate"), node.log
            assert client.request("cleanup"), node.log
            client.set_parameter("config", str(config))
            client.set_parameter("links.cart.device", str(tmp_path / "none"))
            assert not client.request("configure")
    assert len(list((tmp_path / "elsewhere").glob("*/run.mcap"))) == 1


def test_a_device_of_a_link_that_is_not_there_fails_the_configure(tmp_path: Path) -> None:
    config = write_config(tmp_path, tmp_path / "tty")
    given: dict[str, Any] = {"links.crat.device": "/dev/null"}
    with Client() as client, loop_node_here(client, config=str(config), **given):
        assert not client.request("configure")
        client.spin_until(lambda: bool(client.states[-1]["failure"]), "~/state says why")
        assert "found no link 'crat'; there is: cart" in client.states[-1]["failure"]
