"""A kind of port is chosen by the key that names it, and nothing but its own file knows of it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import rtloop
from rtloop.config import json_schema
from rtloop.config.config import Config
from rtloop.ports.link import LinkInput, LinkOutput
from rtloop.ports.mailbox import MailboxInput, MailboxOutput
from rtloop.ports.port import INPUTS, OUTPUTS
from tests.config.example import EXAMPLE, changed, complaints, loaded
from tests.kinds import filled

PACKAGE = Path(rtloop.__file__).parent
TARGET = "target: {mailbox: [0.0]}"
CART = (
    "cart: {link: cart, min: [-10], max: [10], max_rate_per_s: [5000], safe: [0.0], default: [0.0]}"
)


def test_the_kinds_of_the_folder_are_found() -> None:
    for kinds in (INPUTS, OUTPUTS):
        names = [kind.kind for kind in kinds]
        assert {"link", "mailbox"} <= set(names)
        assert names == sorted(names)


def test_the_key_chooses_the_kind(folder: Path) -> None:
    balance = loaded(EXAMPLE, folder).loops["balance"]
    assert isinstance(balance.inputs["cart"], LinkInput)
    assert isinstance(balance.inputs["target"], MailboxInput)
    assert isinstance(balance.outputs["cart"], LinkOutput)
    text = changed((CART, "cart: {mailbox: true, safe: [0.0]}"))
    assert isinstance(loaded(text, folder).loops["balance"].outputs["cart"], MailboxOutput)


@pytest.mark.parametrize("unset", ["mailbox: null", "size: null", "mailbox: false"])
def test_a_key_of_another_kind_that_is_left_to_its_default_says_nothing(
    unset: str, folder: Path
) -> None:
    text = changed((CART, f"cart: {{link: cart, {unset}, safe: [0.0]}}"))
    assert isinstance(loaded(text, folder).loops["balance"].outputs["cart"], LinkOutput)


def test_sections_made_in_python_are_taken_as_they_are(folder: Path) -> None:
    config = loaded(EXAMPLE, folder)
    tree = config.model_dump(by_alias=True)
    tree["loops"]["balance"]["inputs"] = config.loops["balance"].inputs
    again = Config.model_validate(tree, context={"folder": str(folder)})
    assert again.loops == config.loops


def test_the_json_schema_shows_every_kind() -> None:
    loop = json_schema()["$defs"]["LoopConfig"]["properties"]
    for direction in ("inputs", "outputs"):
        (kinds,) = loop[direction]["patternProperties"].values()
        assert [kind["required"][0] for kind in kinds["oneOf"] if "link" in kind["required"]]
        assert [kind["required"][0] for kind in kinds["oneOf"] if "mailbox" in kind["required"]]


def test_a_taken_key_is_refused() -> None:
    with pytest.raises(ValueError, match="the kind 'link' is registered already"):
        INPUTS.register(LinkInput)


# --- a kind from outside ---


def test_a_kind_from_outside_is_known_once_it_is_imported(folder: Path, toy: ModuleType) -> None:
    text = changed((TARGET, "target: {toy: t, step: 2.5, max_age_ms: 7}"))
    target = loaded(text, folder).loops["balance"].inputs["target"]
    assert isinstance(target, toy.ToyInput)
    assert (target.step, target.max_age_ns, target.identity) == (2.5, 7_000_000, ("toy", "t"))


def test_the_json_schema_shows_a_kind_from_outside(toy: ModuleType) -> None:
    (kinds,) = json_schema()["$defs"]["LoopConfig"]["properties"]["inputs"][
        "patternProperties"
    ].values()
    assert "step" in {key for kind in kinds["oneOf"] for key in kind["properties"]}


def test_complaints_know_a_kind_from_outside(folder: Path, toy: ModuleType) -> None:
    def told(target: str) -> str:
        (line,) = complaints(changed((TARGET, f"target: {target}")), folder)
        return line.partition("loops.balance.inputs.target")[2]

    either = filled("<one of inputs>")
    assert "toy" in either
    assert told("{}") == filled(f": found <none of inputs>; expected {either}")
    assert told("{toy: t, mailbox: [1]}") == f": found both mailbox and toy; expected {either}"
    assert told("{toy: t, link: cart, mailbox: [1]}") == (
        f": found link, mailbox and toy; expected {either}"
    )
    assert told("{toy: t, step: 0}") == ".step: found 0; expected a ramp that rises or falls"
    assert told("{toy: t, step: fast}") == (
        ".step: found 'fast'; expected a number (from one element to the next)"
    )
    assert told("{toy: t, stepp: 1}") == (
        ".stepp: found an unknown key; expected one of toy, max_age_ms, on_stale, step; nearest "
        "known key 'step'"
    )
    assert told("{toyy: t}") == filled(
        ".toyy: found an unknown key; expected one of <keys of inputs>; nearest known key 'toy'"
    )


def test_a_kind_that_cannot_be_told_what_is_safe_holds_nothing(
    folder: Path, toy: ModuleType
) -> None:
    link = "cart: {link: cart, min: [-10], max: [10], max_rate_per_s: [5000], safe: [0.0], default: [0.0]}"
    (line,) = complaints(changed((link, "cart: {toy: t, safe: {hold: target}}")), folder)
    assert line.partition("outputs.cart.safe")[2] == (
        ": found a mapping; expected numbers: a port of kind 'toy' cannot be told what was measured"
    )


def test_a_port_of_any_kind_belongs_to_one_direction_of_one_loop(
    folder: Path, toy: ModuleType
) -> None:
    text = changed((TARGET, "target: {toy: t}\n      again: {toy: t}"))
    assert complaints(text, folder) == [
        "loops.yaml:25:20: loops.balance.inputs.again.toy: found 't'; expected a toy once under "
        "inputs; its samples are already 'target'"
    ]
    text = changed((TARGET, "target: {toy: t}")) + (
        "  other: {class: soft, rate_hz: 10, inputs: {i: {toy: t}}, outputs: {o: {toy: u, safe: 0}},"
        " policy: {model: policy.onnx, observation: [{input: i}]}}\n"
    )
    assert complaints(text, folder) == [
        "loops.yaml:44:55: loops.other.inputs.i.toy: found 't'; expected a toy of its own; loop "
        "'balance' uses this one"
    ]
    # Both directions of one loop may share it, and a link of the same name is something else.
    text = changed((TARGET, "target: {toy: cart}"), (CART, "cart: {toy: cart, safe: 0}"))
    assert loaded(text, folder)


# --- nobody else asks ---


@pytest.mark.parametrize("module", ["ports.link", "ports.port", "config.sections", "config.rules"])
def test_the_layers_can_be_imported_in_any_order(module: str) -> None:
    subprocess.run([sys.executable, "-c", f"import rtloop.{module}"], check=True, timeout=60)


def test_nothing_outside_its_folder_asks_for_a_kind() -> None:
    kinds = "|".join(kind.kind for kind in INPUTS)
    asks = re.compile(
        rf"\bports\.({kinds})\b|from rtloop\.ports import|"  # a kind's own module or class
        rf"(section|source|sink|port|input|output)s?\.({kinds})\b|"  # a kind's own key
        r"\.kind (==|!=|is)\b|isinstance\([^)]*(Input|Output|Port)\b"
    )
    found = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for folder in (PACKAGE, PACKAGE.parent / "nodes")
        for path in sorted(folder.rglob("*.py"))
        if PACKAGE / "ports" not in path.parents
        for line in path.read_text(encoding="utf-8").splitlines()
        if asks.search(line)
    ]
    assert found == []
