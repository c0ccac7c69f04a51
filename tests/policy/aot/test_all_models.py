"""Every model that is at hand: compiled it computes the same, or it runs in onnxruntime, with the reason.

The graphs of the other tests, too: RTLOOP_TEST_AOT=1 pytest tests/policy.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import rtloop.demos
from benchmarks.policies import LARGE, SMALL, Network
from rtloop.config import load
from rtloop.policy.opened import opened
from rtloop.policy.verify import verify
from tests.policy.aot.conftest import needs_tools, opened_loop, runs
from tests.policy.models import linear, passthrough, recurrent
from tests.policy.test_wild import NAMES, TOLERANCE, folder_of

pytestmark = needs_tools

#: What these are not compiled for; all others are. A sum of so many is rounded in another order.
NOT_COMPILED = {
    "silero_vad": "requires static shapes",
    "falcon_g1": "does not compute the same",
    "unitree_g1_velocity": "does not compute the same",
}
DEMO = Path(rtloop.demos.__file__).parent / "cartpole" / "cartpole.yaml"


@pytest.mark.parametrize("name", [n for n in NAMES if not n.endswith("_500hz")])
def test_a_deployed_policy_does_compiled_what_it_did_there(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "deployed"
    folder.mkdir()
    folder_of(name, folder)
    path = folder / f"{name}.yaml"
    text = path.read_text()
    path.write_text(text.replace("\n    policy:\n", "\n    policy:\n      backend: aot\n"))
    config = load(path)
    (loop,) = config.loops
    assert config.loops[loop].policy.backend == "aot"
    backends = opened(config, loop).assembled.backends
    for model, backend in backends.by_model.items():
        assert backend == "aot" or NOT_COMPILED[name] in backends.reasons[model]
    found = verify(config, loop, folder / "expected.npz", TOLERANCE.get(name, 1e-4))
    assert found.first is None, found.as_dict()


@pytest.mark.parametrize("network", [SMALL, LARGE], ids=lambda network: network.name)
def test_the_networks_of_the_benchmarks_are_compiled(network: Network) -> None:
    found = opened_loop(network.model(), network.n_inputs, network.n_outputs)
    assert found.assembled.backends.by_model == {"policy": "aot"}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_the_models_of_the_tests(dtype: str) -> None:
    random = np.random.default_rng(2)
    models = {
        "linear": (linear(random.standard_normal((4, 3)).astype(dtype)), {}),
        "passthrough": (passthrough(4), {}),
        "recurrent": (recurrent(4, 8, 3, dtype)[0], {"state": "{h_in: h_out}"}),
    }
    for name, (model, keys) in models.items():
        m = 4 if name == "passthrough" else 3
        aot, ort = opened_loop(model, 4, m, **keys), opened_loop(model, 4, m, "ort", **keys)
        backends = aot.assembled.backends
        assert backends.by_model["policy"] == "aot" or "the same" in backends.reasons["policy"]
        samples = random.standard_normal((20, 4))
        np.testing.assert_allclose(runs(aot, *samples), runs(ort, *samples), rtol=2e-5, atol=2e-5)
        if dtype != "float16":
            assert backends.by_model["policy"] == "aot", name


def test_the_demo_is_compiled() -> None:
    config = load(DEMO)
    found = opened(config, "balance", backend="aot")
    assert found.assembled.backends.by_model == {"policy": "aot"}
