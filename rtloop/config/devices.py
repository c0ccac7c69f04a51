"""The same loops on other devices: a simulated board, a second robot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rtloop.config.values import expanded
from rtloop.errors import ConfigError, Finding

if TYPE_CHECKING:
    from rtloop.config.config import Config


def with_devices(config: Config, devices: Mapping[str, str]) -> Config:
    """The configuration with other device paths, by link name; the other links keep theirs.

    Raises ConfigError for a link that the configuration does not have, and for a ``~`` of nobody.
    """
    moved = {}
    for name, device in devices.items():
        if name not in config.links:
            known = ", ".join(config.links) or "none"
            message = f"found no link '{name}'; there is: {known}"
            raise ConfigError([Finding(message, config.where("links"))])
        try:
            moved[name] = expanded(device)
        except ValueError as error:
            place = config.where("links", name, "device")
            raise ConfigError([Finding.of(place, f"'{device}'", str(error))]) from None
    links = {
        name: link.with_values(device=moved.get(name, link.device))
        for name, link in config.links.items()
    }
    return config.with_values(links=links)
