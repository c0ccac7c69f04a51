"""Who may reach a gateway: this host, or who has a key."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtloop.errors import ConfigError, RtloopError
from rtloop.link.gateway.access import own_keys, refuse_open


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:5555", "tcp://127.3.2.1:0", "tcp://[::1]:1", "tcp://localhost:9"]
)
def test_this_host_alone_needs_no_keys(address: str) -> None:
    refuse_open("--pub", address, has_keys=False)


@pytest.mark.parametrize(
    "address", ["tcp://0.0.0.0:1", "tcp://*:1", "tcp://10.0.0.7:1", "tcp://[::]:1", "tcp://eth0:1"]
)
def test_an_address_that_others_reach_needs_keys_and_says_why(address: str) -> None:
    with pytest.raises(ConfigError, match="could move the machine") as raised:
        refuse_open("--command", address, has_keys=False)
    assert str(raised.value).startswith(f"--command: found '{address}'; expected tcp://127.0.0.1:")
    refuse_open("--command", address, has_keys=True)


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1:1", "udp://127.0.0.1:1", "tcp://127.0.0.1:65536"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="expected tcp://ADDRESS:PORT"):
        refuse_open("--pub", address, has_keys=True)


def test_keys_are_made_once_and_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    first = own_keys(folder)
    assert own_keys(folder) == first
    assert (folder / "gateway.key_secret").stat().st_mode & 0o077 == 0
    assert (folder / "clients").is_dir()
    assert first[0] in (folder / "gateway.key").read_bytes()
    assert first[1] not in (folder / "gateway.key").read_bytes()


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    own_keys(tmp_path)
    secret = tmp_path / "gateway.key_secret"
    secret.chmod(0o644)
    with pytest.raises(RtloopError, match="others may read .*chmod 600"):
        own_keys(tmp_path)
    secret.chmod(0o600)
    secret.write_text("nonsense")
    with pytest.raises(RtloopError, match="cannot be used"):
        own_keys(tmp_path)
