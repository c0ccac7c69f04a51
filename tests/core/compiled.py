"""Compiled models written by hand: C, made into a shared object as rtloop.policy.aot does it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

import rtloop.core

needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None, reason="no C compiler: apt-get install gcc"
)
HEADERS = Path(rtloop.core.__file__).parent / "graph"
MODEL = """\
#include "compiled_model.h"
static void run(const void *const *inputs, void *const *outputs) {{
    {body}
}}
static const uint64_t bytes[] = {{{bytes}}};
__attribute__((visibility("default")))
const struct rtloop_compiled_model {symbol} = {{{abi}, {n_inputs}, {n_outputs}, bytes, run}};
"""


def compiled(
    body: str,
    inputs: Sequence[int],
    outputs: Sequence[int],
    *,
    abi: str = "RTLOOP_COMPILED_MODEL_ABI",
    symbol: str = "rtloop_compiled_model",
) -> bytes:
    """A shared object. ``inputs`` and ``outputs`` are in bytes; ``body`` is C that knows both as pointers."""
    sizes = ", ".join(map(str, [*inputs, *outputs]))
    return built(
        MODEL.format(
            body=body, bytes=sizes, abi=abi, symbol=symbol,
            n_inputs=len(inputs), n_outputs=len(outputs),
        )
    )  # fmt: skip


@functools.cache
def built(source: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.c")
        path.write_text(source)
        command = ["cc", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", f"-I{HEADERS}"]
        environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
        subprocess.run([*command, "-o", f"{folder}/model.so", path], check=True, env=environment)
        return Path(folder, "model.so").read_bytes()
