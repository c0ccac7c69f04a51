"""The page on bringing up a board: its commands are ones that there are, its topics those published."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from rtloop.cli.arguments import parser
from rtloop.cli.main import _COMMANDS
from rtloop.link.gateway import news
from rtloop.link.messages import DeviceEvent, DeviceState, Reason, Sample
from tests.link.scripted_device import scripted_info
from tests.running import ROOT

PAGE = (ROOT / "docs" / "link.md").read_text()
COMMANDS = (ROOT / "docs" / "commands.md").read_text()


@pytest.mark.parametrize("line", re.findall(r"^\$ (rtloop .*)$", PAGE, re.MULTILINE))
def test_each_command_of_the_page_is_one(line: str) -> None:
    _, *arguments = shlex.split(line)
    assert parser().parse_args(arguments).command in _COMMANDS


def test_each_command_is_documented() -> None:
    for command in _COMMANDS:
        assert f"`{command}" in COMMANDS or f"`rtloop {command}" in COMMANDS, command


def test_each_topic_has_a_row_with_its_keys() -> None:
    sample = Sample(1, DeviceState.ACTIVE, Reason(0), 0, 0, (float("nan"), 2.0))
    event = DeviceEvent("state_change", DeviceState.SAFE, Reason.LIMIT, 5, 0, 1)
    published = [
        news.sample(scripted_info(), sample, 1),
        news.event(scripted_info(), event),
        news.gateway(scripted_info(), "lost", "why"),
        news.status(scripted_info(), None, False, {"samples": 1}),
    ]
    for topic, text in published:
        (row,) = re.findall(rf"^\| `{topic.decode()}` \|.*$", PAGE, re.MULTILINE)
        told = json.loads(text)
        assert (told.pop("device"), bool(told.pop("time_s"))) == ("scripted", True)
        assert set(told) <= set(re.findall(r"`(\w+)`", row)), row
    assert json.loads(published[0][1])["values"] == {"a": None, "b": 2.0}


def test_what_a_gateway_counts_is_documented() -> None:
    source = (ROOT / "rtloop/link/gateway/gateway.py").read_text()
    (names,) = re.findall(r"dict.fromkeys\(\((.*?)\), 0\)", source)
    said = re.findall(r'self\._note\(\s*"(\w+)"', source)
    assert said
    for name in [*re.findall(r'"(\w+)"', names), *said]:
        assert f"`{name}`" in PAGE, name


@pytest.mark.parametrize("command", [c for c in _COMMANDS if "policy" not in c])
def test_the_example_of_each_help_is_a_command(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args([*command.split(), "--help"])
    example = capsys.readouterr().out.partition("example:")[2].splitlines()[1]
    _, *arguments = shlex.split(example)
    assert parser().parse_args(arguments).command == command
