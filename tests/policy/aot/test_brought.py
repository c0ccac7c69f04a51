"""Compiled models that lie in a folder, where nothing compiles: what is believed, and what is not."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtloop.policy.aot.source import model_of
from rtloop.policy.aot.store import Entry, Store, own_folder
from rtloop.policy.aot.tools import NotCompiledError, cpu_features
from rtloop.policy.opened import Opened
from rtloop.policy.runner import model_steps
from tests.core.compiled import compiled, needs_compiler
from tests.policy.aot.conftest import opened_loop, runs
from tests.policy.models import linear

pytestmark = [needs_compiler, pytest.mark.usefixtures("without_generator")]

TWICE = linear(2 * np.eye(3, dtype=np.float32))
CODE = "for (int i = 0; i < 3; ++i) ((float *)outputs[0])[i] = {factor} * ((const float *)inputs[0])[i];"


def brought(folder: Path | None, factor: str = "2.0f", **changes: object) -> Path:
    """An object of TWICE, by hand, as another machine would have made it; its JSON."""
    graph = opened_loop(TWICE, 3, 3, "ort").assembled.graph
    (step,) = model_steps(graph).values()
    code = compiled(CODE.format(factor=factor), [12], [12])
    entry = Entry(
        model=hashlib.sha256(model_of(step, graph.tensors)).hexdigest(),
        key="0" * 64,
        label="policy",
        generator="a generator",
        compiler="a compiler",
        flags=[],
        sha256=hashlib.sha256(code).hexdigest(),
    )
    entry = replace(entry, **changes)  # type: ignore[arg-type]
    store = Store(folder)
    store.keep(entry, code)
    return store.folder / f"{entry.name}.json"


def loop(**keys: str) -> Opened:
    return opened_loop(TWICE, 3, 3, **keys)


def why(found: Opened) -> str:
    backends = found.assembled.backends
    assert backends.by_model == {"policy": "ort"}
    assert runs(found, [1, 2, 3]) == [[2, 4, 6]]
    (note,) = backends.notes
    assert note == f"policy runs in onnxruntime, not compiled: {backends.reasons['policy']}"
    assert note in found.table.notes
    return backends.reasons["policy"]


def test_without_anything_it_runs_in_onnxruntime_and_says_what_to_do() -> None:
    assert why(loop()) == (
        "emx-onnx-cgen, which writes the C, is not installed: pip install 'rtloop[aot]'"
    )


def test_by_default_nothing_is_compiled_nor_said(cache: Path) -> None:
    found = opened_loop(TWICE, 3, 3, "ort").assembled
    assert (found.backends.by_model, found.backends.notes) == ({"policy": "ort"}, [])
    assert not cache.exists()


@pytest.mark.parametrize("in_own_cache", [True, False])
def test_an_object_that_was_brought_runs(in_own_cache: bool) -> None:
    brought(None if in_own_cache else Path("compiled"))
    found = loop() if in_own_cache else loop(aot_cache="compiled")
    assert found.assembled.backends.by_model == {"policy": "aot"}
    assert found.assembled.notes[-1] == (
        "policy runs compiled ahead of time (a generator, a compiler)"
    )
    assert runs(found, [1, 2, 3], [np.nan, 0, 0])[0] == [2, 4, 6]
    assert np.isnan(runs(found, [np.nan, 0, 0])).all()


def test_one_that_computes_something_else_does_not() -> None:
    brought(None, factor="2.0001f")
    told = why(loop())
    assert told.startswith("it does not compute the same: 'action[")
    assert " in onnxruntime, in run " in told


def test_one_that_hides_what_overflows_does_not() -> None:
    value = "((const float *)inputs[0])[i]"
    brought(None, factor=f"({value} > 1e30f || {value} < -1e30f ? 0.5f : 2.0f)")
    told = why(loop())
    assert told.startswith("it does not compute the same: 'action[")
    assert told.endswith("inf in onnxruntime, of inputs around 3e+38")


def test_one_for_another_cpu_does_not() -> None:
    path = brought(None, features=[*sorted(cpu_features())[:3], "avx9"])
    assert "is not installed" in why(loop())
    path.write_text(path.read_text().replace('"avx9"', f'"{min(cpu_features())}"'))
    assert loop().assembled.backends.by_model == {"policy": "aot"}


def test_one_for_another_architecture_does_not() -> None:
    brought(None, machine="riscv128")
    assert "is not installed" in why(loop())


def test_one_of_another_model_does_not() -> None:
    brought(None, model="1" * 64)
    assert "is not installed" in why(loop())


def test_one_that_was_changed_or_lost_does_not() -> None:
    path = brought(None)
    object_ = path.with_suffix(".so")
    code = object_.read_bytes()
    object_.write_bytes(code[:-1] + bytes([code[-1] ^ 1]))
    assert "is not installed" in why(loop())
    object_.unlink()
    assert "is not installed" in why(loop())


def test_one_whose_facts_are_damaged_does_not() -> None:
    path = brought(None)
    facts = json.loads(path.read_text())
    wrong: list[dict[str, Any]] = [
        {"failure": None},
        {"key": 3},
        {"key": None},
        {"features": None},
        {"features": [1]},
    ]
    wrong += [{"features": "avx"}, {"label": []}, {"sha256": None, "failure": ["no"]}]
    for text in ("", "[]", "{}", path.read_text()[:-20], '{"model": 3}', *(
        json.dumps({**facts, **each}) for each in wrong
    )):  # fmt: skip
        path.write_text(text)
        assert "is not installed" in why(loop())


def test_one_of_another_abi_does_not() -> None:
    path = brought(None)
    code = compiled(CODE.format(factor="2.0f"), [12], [12], abi="7")
    path.with_suffix(".so").write_bytes(code)
    facts = {**json.loads(path.read_text()), "sha256": hashlib.sha256(code).hexdigest()}
    path.write_text(json.dumps(facts))
    told = "the compiled model 'policy' is of ABI 7, this rtloop reads 1: compile it again"
    assert told in why(loop())


def test_nothing_is_believed_where_anybody_may_write(cache: Path) -> None:
    brought(None)
    cache.chmod(0o777)
    assert "anybody may write in" in why(loop())


def test_nothing_is_believed_that_a_link_leads_to(cache: Path, tmp_path: Path) -> None:
    path = brought(None)
    path.with_suffix(".so").rename(tmp_path / "elsewhere.so")
    path.with_suffix(".so").symlink_to(tmp_path / "elsewhere.so")
    assert "cannot be read" in why(loop())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away: run as root")
def test_nothing_is_believed_that_another_user_wrote(cache: Path) -> None:
    path = brought(None)
    os.chown(path, 12345, 12345)
    assert "belongs to #12345" in why(loop())
    os.chown(path, 0, 0)
    os.chown(cache, 12345, 12345)
    assert "belongs to #12345" in why(loop())


def test_what_is_roots_is_believed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed by the system, run by a user."""
    brought(None)
    store = Store()
    model = next(cache.glob("*.json")).stem.partition("-")[0]
    assert store.any_of(model)
    owner = cache.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner == 0:
        assert store.any_of(model)
    else:
        with pytest.raises(NotCompiledError, match="belongs to"):
            store.any_of(model)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        NotCompiledError, match=r"it cannot be kept in .*/file/aot: Not a directory"
    ):
        Store(tmp_path / "file" / "aot").prepare()


def test_the_cache_is_where_the_desktop_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert own_folder() == tmp_path / "rtloop" / "aot"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for told in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", told)
        assert own_folder() == tmp_path / "home" / ".cache" / "rtloop" / "aot"


def test_what_is_kept_is_private(cache: Path) -> None:
    path = brought(None)
    assert cache.stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in (path, path.with_suffix(".so"))} == {0o600}
    assert asdict(Entry(**json.loads(path.read_text())))["label"] == "policy"
