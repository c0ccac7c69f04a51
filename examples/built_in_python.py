"""A loop without a file: built here, fed, and its recording read back."""

from pathlib import Path

import numpy as np

import rtloop

policy = Path(rtloop.__file__).parent / "demos" / "cartpole" / "policy.onnx"
balance = {
    "loop_class": "soft",
    "rate_hz": 200,
    "inputs": {"cart": {"mailbox": np.zeros(4), "max_age_ms": 100}},
    "policy": {"model": policy, "observation": [{"input": "cart"}], "action": {"scale": 10}},
    "outputs": {"force": {"mailbox": True, "size": 1, "min": -10, "max": 10, "safe": 0}},
}
with rtloop.Run(rtloop.Config(loops={"balance": balance})) as run:
    for angle_rad in 0.1 * np.sin(np.arange(100) / 10):
        run.loops["balance"].write_input("cart", [0, 0, angle_rad, 0])
        run.wait(0.01)
print(run.summary)
recorded = rtloop.open_recording(run.recording).loops["balance"]
angle_rad, force_newton = recorded.input("cart")[:, 2], recorded.output("force")[:, 0]
print(f"{len(angle_rad)} cycles, {np.corrcoef(angle_rad, force_newton)[0, 1]:+.2f} correlated")
