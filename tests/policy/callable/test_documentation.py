"""What docs/policy.md shows of a Python function runs as it stands there."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

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


def test_the_program_with_torch_is_one(tmp_path: Path) -> None:
    """It needs more than the tests have; its names are those of the text."""
    _, program = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
    names = {node.name for node in ast.walk(ast.parse(program)) if hasattr(node, "name")}
    assert {"Walker", "export"} <= names
    assert "`python: walker:Walker` becomes `model: walker.onnx`" in SECTION
