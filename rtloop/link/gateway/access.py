"""Who may reach a gateway: whoever is on this host, or who has a key (CURVE). Nothing else is offered."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path

from rtloop.errors import ConfigError, RtloopError

_ADDRESS = re.compile(r"tcp://(?P<host>\[[0-9a-fA-F:]+\]|[\w.*-]+):(?P<port>\d{1,5})")
OWN = "gateway"
CLIENTS = "clients"


def refuse_open(option: str, address: str, has_keys: bool) -> None:
    """Raises ConfigError for what is no address, or one that others than this host reach without a key."""
    found = _ADDRESS.fullmatch(address)
    if found is None or int(found["port"]) > 65535:
        raise ConfigError(
            f"{option}: found '{address}'; expected tcp://ADDRESS:PORT, 0 for any free port"
        )
    if not has_keys and not _is_loopback(found["host"].strip("[]")):
        raise ConfigError(
            f"{option}: found '{address}'; expected tcp://127.0.0.1:PORT, or --keys FOLDER beside it: whoever "
            "reaches the address could move the machine, or read what it does. Without keys a gateway is for "
            "its own host alone; `ssh -L` brings a port of it to another one"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def own_keys(folder: Path) -> tuple[bytes, bytes]:
    """The gateway's public and secret key (Z85); made where there are none yet, with a folder for the clients'.

    Raises RtloopError when they cannot be read or made, or others than this user may read the secret one.
    """
    from zmq import auth

    secret = folder / f"{OWN}.key_secret"
    try:
        clients(folder).mkdir(parents=True, exist_ok=True, mode=0o700)
        if not secret.exists():
            before = os.umask(0o077)
            try:
                auth.create_certificates(folder, OWN)
            finally:
                os.umask(before)
        if secret.stat().st_mode & 0o077:
            raise RtloopError(f"others may read {secret}: `chmod 600 {secret}`, or make new keys")
        public_key, secret_key = auth.load_certificate(secret)
    except (OSError, ValueError) as error:
        raise RtloopError(f"the keys in {folder} cannot be used: {error}") from error
    if secret_key is None:
        raise RtloopError(f"{secret} has no secret key; delete it, and new ones are made")
    return public_key, secret_key


def clients(folder: Path) -> Path:
    """Where the public keys (NAME.key) of those are who may connect; read once, when the gateway starts."""
    return folder / CLIENTS
