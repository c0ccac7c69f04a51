"""A loop that needs no device: between two mailboxes."""

from __future__ import annotations

from pathlib import Path

import rtloop

POLICY = Path(rtloop.__file__).parent / "demos/cartpole/policy.onnx"


def write(folder: Path) -> Path:
    """The file of a loop named balance, in the folder."""
    path = folder / "mailboxes.yaml"
    path.write_text(
        "loops:\n"
        "  balance:\n"
        "    class: soft\n"
        "    rate_hz: 100\n"
        "    inputs: {cart: {mailbox: [0, 0, 0, 0]}}\n"
        f"    policy: {{model: {POLICY}, observation: [{{input: cart}}]}}\n"
        "    outputs: {force: {mailbox: true, size: 1, safe: 0.0}}\n"
        "    realtime: {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}\n"
    )
    return path
