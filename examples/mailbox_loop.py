"""A loop whose sensor and actuator are this program: samples in, commands out, by mailboxes."""

import math
import time
from pathlib import Path

import rtloop

config = rtloop.load(Path(__file__).with_name("mailbox_loop.yaml"))
with rtloop.Run(config, "mailbox_loop") as run:
    loop = run.loops["balance"]
    for step in range(200):
        angle_rad = 0.1 * math.sin(step / 20)  # position, velocity, angle, rate of a cart-pole
        loop.write_input("cart", [0.0, 0.0, angle_rad, 0.0])
        time.sleep(0.01)
        if step % 20 == 0:
            (force_newton,), written_ns = loop.read_output("force")
            age_ms = (time.monotonic_ns() - written_ns) / 1e6
            print(f"{angle_rad:+.3f} rad -> {force_newton:+6.2f} N, {age_ms:.1f} ms ago")
summary = run.stop()
balance = summary.loops["balance"]
print(f"{balance.executed} cycles, {balance.misses} misses; {summary.recording}")
