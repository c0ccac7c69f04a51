"""One loop at several rates, and what its policy costs. Sections as classes, for editors and type checkers."""

from pathlib import Path

import rtloop
from rtloop.policy.terms.inputs import InputTerm
from rtloop.ports.mailbox import MailboxInput, MailboxOutput

policy = Path(rtloop.__file__).parent / "demos" / "cartpole" / "policy.onnx"
balance = rtloop.LoopConfig(
    loop_class="soft",
    rate_hz=100,
    inputs={"cart": MailboxInput(mailbox=(0, 0, 0.1, 0))},
    policy=rtloop.PolicyConfig(model=policy, observation=(InputTerm(input="cart"),)),
    outputs={"force": MailboxOutput(mailbox=True, safe=(0,))},
)
config = rtloop.Config(loops={"balance": balance})
for rate_hz in (100, 200, 500):
    varied = config.replace(loops={"balance": {"rate_hz": rate_hz}})
    with rtloop.Run(varied, record=False) as run:
        run.wait(1)
        infer_us = run.statistics()["balance"].infer_us
    print(
        f"{rate_hz} Hz: {infer_us.p50:.0f} µs at the median, {infer_us.p99:.0f} p99, N {infer_us.n}"
    )
