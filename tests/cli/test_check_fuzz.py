"""Whatever is in the file, ``check --json`` prints one JSON value, and nothing else, and raises nothing."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rtloop.cli.main import main
from rtloop.errors import EXIT_CODES
from tests.config.test_fuzz import (
    SCALARS,
    TREE,
    TREES,
    WORDS,
    dumped,
    places,
    removed,
    renamed,
    replaced,
)
from tests.policy.models import recurrent

#: The example of the tests of configuration, with a policy that fits, and no rights that stay.
START: Any = replaced(TREE, ("loops", "balance", "policy", "fix_dimensions"), {})
START["loops"]["balance"]["realtime"] = {
    "scheduler": "other",
    "lock_memory": False,
    "cpu_dma_latency_us": None,
}
BOUNDED = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@contextlib.contextmanager
def inside(folder: str) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def judged(content: bytes) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, inside(folder):
        Path("policy.onnx").write_bytes(recurrent(4, 2, 1)[0])
        Path("loops.yaml").write_bytes(content)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["check", "loops.yaml", "--json"])
        left = {path.name for path in Path().iterdir()}
    found: dict[str, Any] = json.loads(out.getvalue())
    assert left == {"policy.onnx", "loops.yaml"}
    assert "Traceback" not in err.getvalue()
    assert found["exit_code"] == code
    assert code in EXIT_CODES
    errors = [problem for problem in found["problems"] if problem["severity"] == "error"]
    assert bool(errors) == ("error" in found) == (code != 0)
    for problem in found["problems"]:
        assert problem["message"]
        told = found["error"] if problem["severity"] == "error" else "\n".join(found["warnings"])
        assert problem["message"] in told
        assert problem["line"] is None or problem["line"] >= 1
    return found


def test_the_unchanged_tree_is_valid() -> None:
    found = judged(dumped(START).encode())
    assert found["exit_code"] == 0, found
    assert found["loops"]["balance"]["timed_runs"] > 0


@given(st.text(max_size=200) | st.binary(max_size=200))
@example("")
@example("loops: {a: {}}")
@example("\0")
@BOUNDED
def test_any_text_is_answered_in_json(content: str | bytes) -> None:
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    judged(data)


@given(TREES)
@BOUNDED
def test_any_tree_is_answered_in_json(tree: Any) -> None:
    judged(dumped(tree).encode("utf-8", "replace"))


@given(st.data())
@BOUNDED
def test_any_changed_tree_is_answered_in_json(data: st.DataObject) -> None:
    tree: Any = START
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(tree)))
        action = data.draw(st.sampled_from(["replace", "remove", "rename"]))
        if action == "replace" or not path:
            tree = replaced(tree, path, data.draw(SCALARS | TREES))
        elif action == "remove":
            tree = removed(tree, path)
        else:
            tree = renamed(tree, path, data.draw(st.sampled_from(WORDS) | st.text(max_size=5)))
    text = dumped(tree)
    with contextlib.suppress(yaml.YAMLError, ValueError, RecursionError):
        if _is_huge(yaml.safe_load(text)):
            return
    judged(text.encode("utf-8", "replace"))


def _is_huge(tree: Any) -> bool:
    """Whether a ring would be valid, and fill this machine's memory for a while."""
    loops = tree.get("loops") if isinstance(tree, dict) else None
    return isinstance(loops, dict) and any(
        isinstance(loop, dict)
        and isinstance(loop.get("ring_seconds"), int)
        and loop["ring_seconds"] > 600
        for loop in loops.values()
    )
