"""What these tests share: a cache of their own, and tools that may be missing."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtloop.config import load
from rtloop.policy.aot import tools
from rtloop.policy.aot.tools import NotCompiledError, find_tools
from rtloop.policy.opened import Opened, opened

LOOP = """\
recording: {{directory: runs}}
loops:
  a:
    class: soft
    rate_hz: 100
    inputs: {{x: {{mailbox: {inputs}}}}}
    policy:
      model: policy.onnx
      observation: [{{input: x}}]
      {more}
    outputs: {{y: {{mailbox: true, size: {outputs}, safe: 0}}}}
    realtime: {{scheduler: other, lock_memory: false, cpu_dma_latency_us: null}}
"""


def why_not() -> str:
    """What is missing here to compile with; empty where nothing is."""
    try:
        find_tools()
    except NotCompiledError as error:
        return str(error)
    return ""


needs_tools = pytest.mark.skipif(bool(why_not()), reason=why_not())


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of compiled models; the current directory is an empty one."""
    (tmp_path / "loop").mkdir()
    monkeypatch.chdir(tmp_path / "loop")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "rtloop" / "aot"


@pytest.fixture
def without_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    tools._found.cache_clear()
    monkeypatch.setattr(metadata, "version", missing)


def opened_loop(
    model: bytes, inputs: int, outputs: int, backend: str = "aot", **keys: Any
) -> Opened:
    """The only loop of loop.yaml, which is written here, around a model."""
    Path("policy.onnx").write_bytes(model)
    more = "\n      ".join(f"{key}: {value}" for key, value in {"backend": backend, **keys}.items())
    text = LOOP.format(inputs=[0.0] * inputs, outputs=outputs, more=more)
    Path("loop.yaml").write_text(text)
    return opened(load(Path("loop.yaml")), "a")


def runs(loop: Opened, *samples: Any) -> list[Any]:
    """Commands in the loop's core, one for each sample."""
    graph = loop.assembled.runner
    graph.reset()
    return [graph.run([np.asarray(sample, np.float32)]).tolist() for sample in samples]
