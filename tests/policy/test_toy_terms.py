"""A kind of term in a file of its own, which no other file knows: from YAML to its values."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pytest

from rtloop.cli.check import check
from rtloop.config import Config, json_schema, load
from rtloop.errors import ConfigError
from rtloop.policy.terms.term import TERMS
from tests.kinds import filled
from tests.policy.models import Runner, passthrough
from tests.policy.test_documentation import sentence

_LOOP = """\
loops:
  toy:
    class: soft
    rate_hz: 100
    inputs: {arm: {mailbox: [0, 0, 0]}, hand: {mailbox: [0, 0]}}
    policy:
      model: policy.onnx
      observation:
        - {input: arm}
        - {norm: arm, scale: 10}
        - {cycles: true, offset: 0.5}
        - {norm: hand, select: [norm]}
        - {norm: arm, clip: [0, 1]}
        - {norm: arm, factor: 2}
    outputs: {all: {mailbox: true, size: 8, safe: 0}}
"""


@pytest.fixture(autouse=True)
def toy_terms() -> Iterator[None]:
    """The kinds of ``toy_terms.py``, for the time of a test."""
    before = set(TERMS)
    import_module("tests.policy.toy_terms")
    yield
    for kind in set(TERMS) - before:
        TERMS.unregister(kind.kind)
    del sys.modules["tests.policy.toy_terms"]


def _write(folder: Path, text: str) -> Path:
    (folder / "policy.onnx").write_bytes(passthrough(8))
    path = folder / "toy.yaml"
    path.write_text(text)
    return path


def _runner(config: Config, **names: tuple[str, ...]) -> Runner:
    where = partial(config.where, "loops", "toy", "policy")
    return Runner(config.loops["toy"].policy.compose(names, where))


def test_a_toy_term_runs_from_the_file_to_the_policy(tmp_path: Path) -> None:
    config = load(_write(tmp_path, _LOOP))
    runner = _runner(config, arm=("0", "1", "2"), hand=("0", "1"))
    arm, hand = [2.0, 3.0, 6.0], [0.3, 0.4]
    for cycle in range(3):
        observed = runner.step(arm, hand).tolist()
        assert observed == pytest.approx([2, 3, 6, 70, cycle + 0.5, 0.5, 1, 14])
    assert not np.isfinite(runner.step([np.nan, 0, 0], hand)).any()


def test_terms_of_one_source_share_its_nodes(tmp_path: Path) -> None:
    config = load(_write(tmp_path, _LOOP))
    where = partial(config.where, "loops", "toy", "policy")
    names = {"arm": ("0", "1", "2"), "hand": ("0", "1")}
    graph = config.loops["toy"].policy.compose(names, where)
    kinds = [node.op_type for node in onnx.load_from_string(graph.model).graph.node]
    assert kinds.count("ReduceL2") == 3  # of arm, of hand, and of arm with another factor
    assert [kinds.count(kind) for kind in ("Concat", "Max", "Min")] == [1, 1, 1]


def test_check_and_the_schema_know_a_toy_term(tmp_path: Path) -> None:
    assert check(_write(tmp_path, _LOOP)).loops[0].observation == "'obs' float32[1, 8]"
    lists = json_schema()["$defs"]["PolicyConfig"]["properties"]["observation"]["anyOf"]
    kinds = lists[0]["items"]["oneOf"]
    assert [kind["title"] for kind in kinds] == [kind.__name__ for kind in TERMS]
    assert "The Euclidean length of an input's sample." in map(sentence, TERMS)


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (
            "{norm: hant}",
            "9:18: loops.toy.policy.observation[0].norm: found 'hant'; expected the name of an "
            "input: arm or hand; nearest 'hand'",
        ),
        (
            "{norm: hand, factor: 0}",
            "9:32: loops.toy.policy.observation[0].factor: found 0; expected more than 0 "
            "(multiplies the length)",
        ),
        (
            "{norm: hand, select: [nrom]}",
            "9:33: loops.toy.policy.observation[0].select[0]: found 'nrom'; expected a field of "
            "norm: norm; nearest 'norm'",
        ),
        (
            "{norm: hand, select: [1]}",
            "9:33: loops.toy.policy.observation[0].select[0]: found 1; expected an index below 1, "
            "the size of the vector",
        ),
        (
            "{norm: hand, scale: [1, 2]}",
            "9:31: loops.toy.policy.observation[0].scale: found a list of 2; expected 1 as in "
            "'norm', or one number for all",
        ),
        (
            "{norm: hand, input: arm}",
            "9:11: loops.toy.policy.observation[0]: found both input and norm; expected <one "
            "of terms>",
        ),
        (
            "{scale: 2}",
            "9:11: loops.toy.policy.observation[0]: found <none of terms>; expected <one of terms>",
        ),
        (
            "{nrom: hand}",
            "9:12: loops.toy.policy.observation[0].nrom: found an unknown key; expected one of "
            "<keys of terms>; nearest known key 'norm'",
        ),
    ],
)
def test_what_is_wrong_with_a_toy_term_is_shown_at_its_place(
    term: str, message: str, tmp_path: Path
) -> None:
    path = _write(tmp_path, _LOOP.replace("{input: arm}", term))
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value) == f"{path}:{filled(message)}"


def test_what_only_the_device_knows_is_judged_when_the_graph_is_composed(tmp_path: Path) -> None:
    text = _LOOP.replace("{input: arm}", "{input: arm, select: [x]}")
    text = text.replace("arm: {mailbox: [0, 0, 0]}", "arm: {link: arm}")
    text = "links: {arm: {device: /dev/ttyACM0}}\n" + text
    config = load(_write(tmp_path, text))
    with pytest.raises(ConfigError) as caught:
        _runner(config, arm=("y", "z"), hand=("0", "1"))
    assert str(caught.value) == (
        f"{config.path}:10:33: loops.toy.policy.observation[0].select[0]: found 'x'; expected a "
        "field of input 'arm': y or z"
    )


def test_without_its_file_a_toy_term_is_unknown(tmp_path: Path) -> None:
    for kind in ("norm", "cycles"):
        TERMS.unregister(kind)
    with pytest.raises(
        ConfigError, match=r"observation\[1\]\.norm: found an unknown key; expected "
    ):
        load(_write(tmp_path, _LOOP))
