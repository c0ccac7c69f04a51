"""What docs/policy.md shows of a Python function runs as it stands there."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from rtloop.config import load
from rtloop.judge import judge
from tests.policy.callable.files import module

TEXT = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()
SECTION = TEXT.partition("## A Python function in place of a model")[2].partition("\n## ")[0]
LOOP = """\
loops:
  balance:
    class: firm
    rate_hz: 100
    inputs: {pole: {mailbox: [0.1, 0, 5], names: [angle, rate, other]}}
    outputs: {push: {mailbox: true, names: [force], safe: 0.0}}
"""


def test_the_function_and_the_policy_of_the_page_are_a_loop(tmp_path: Path) -> None:
    python, _ = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
    (policy,) = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
    name = module(tmp_path, python)
    path = tmp_path / "loop.yaml"
    path.write_text(LOOP + textwrap.indent(policy.replace("control:", f"{name}:"), "    "))
    judgement = judge(load(path), record=False)
    judgement.refuse()
    runner = judgement.assembled["balance"][""].runner
    function = judgement.policies["balance"][""].function
    assert function is not None
    assert runner.external is not None
    runner.external.answer_at_once(function.answer)
    import numpy as np

    got = runner.run([np.array([0.5, 0.2, 9], np.float32)])
    np.testing.assert_allclose(got, [2 * (-8 * 0.5 - 1.5 * 0.2)], rtol=1e-6)


def test_the_program_with_torch_is_the_policy_that_it_exports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip(
        "torch", reason="no torch: pip install --group exporters", exc_type=ImportError
    )
    import numpy as np
    import onnxruntime

    _, program = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
    assert "`python: walker:Walker` becomes `model: walker.onnx`" in SECTION
    monkeypatch.chdir(tmp_path)
    layers = torch.nn.Sequential(torch.nn.Linear(48, 32), torch.nn.ELU(), torch.nn.Linear(32, 12))
    torch.save(layers, "walker.pt")
    names: dict[str, Any] = {}
    exec(program, names)
    names["export"]()
    observation = np.random.default_rng(1).standard_normal(48, np.float32)
    answered = names["Walker"]()(observation)
    session = onnxruntime.InferenceSession("walker.onnx", providers=["CPUExecutionProvider"])
    (exported,) = session.run(["action"], {"obs": observation[None]})
    np.testing.assert_allclose(exported[0], answered, rtol=1e-4, atol=1e-5)
