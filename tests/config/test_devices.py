"""The same loops on other devices."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtloop.config import with_devices
from rtloop.errors import ConfigError

from .example import EXAMPLE, loaded


def test_a_link_gets_another_device_and_keeps_the_rest(folder: Path) -> None:
    config = loaded(EXAMPLE, folder)
    name, link = next(iter(config.links.items()))
    moved = with_devices(config, {name: "/dev/pts/7"})
    assert moved.links[name] == link.with_values(device="/dev/pts/7")
    assert moved.loops == config.loops
    assert moved.where("links", name) == config.where("links", name)
    assert with_devices(config, {}) == config


def test_a_device_for_a_link_that_is_not_there_is_an_error_with_the_known_names(
    folder: Path,
) -> None:
    config = loaded(EXAMPLE, folder)
    with pytest.raises(ConfigError, match=f"no link 'crat'; there is: {', '.join(config.links)}"):
        with_devices(config, {"crat": "/dev/pts/7"})


def test_a_device_in_the_home_of_nobody_is_an_error(folder: Path) -> None:
    config = loaded(EXAMPLE, folder)
    with pytest.raises(ConfigError) as raised:
        with_devices(config, {"cart": "~no_such_user/tty"})
    assert (
        "links.cart.device: found '~no_such_user/tty'; expected a user of this host after '~'"
        in str(raised.value)
    )
