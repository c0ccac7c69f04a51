"""The example that the tests change, and what a changed one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtloop.config import Config, loads
from rtloop.errors import ConfigError

EXAMPLE = Path(__file__).with_name("example.yaml").read_text(encoding="utf-8")


def small(*loops: str) -> str:
    """A configuration of loops ``a``, ``b`` … that say no more than they must, plus these keys."""
    required = (
        "class: soft, policy: {model: policy.onnx, observation: [{previous_action: true}]}, "
        "outputs: {o: {mailbox: true, safe: [0]}}"
    )
    names = "abcdefgh"[: len(loops)]
    return "loops:\n" + "".join(
        f"  {name}: {{{required}, {keys}}}\n" for name, keys in zip(names, loops, strict=True)
    )


def changed(*replacements: tuple[str, str]) -> str:
    """The example with texts replaced; each must be there exactly once."""
    text = EXAMPLE
    for old, new in replacements:
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in the example"
        text = text.replace(old, new)
    return text


def loaded(text: str, folder: Path) -> Config:
    return loads(text, str(folder / "loops.yaml"))


def complaints(text: str, folder: Path) -> list[str]:
    """The lines of the ConfigError, with the file as ``loops.yaml`` and its folder as FOLDER."""
    with pytest.raises(ConfigError) as caught:
        loaded(text, folder)
    message = str(caught.value).replace(str(folder / "loops.yaml"), "loops.yaml")
    return message.replace(str(folder), "FOLDER").split("\n")
