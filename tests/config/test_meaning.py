"""What a loaded configuration says: defaults, derived nanoseconds, vectors per element."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from rtloop.config import (
    Config,
    LimitConfig,
    LoopConfig,
    json_schema,
    per_element,
    with_devices,
)
from rtloop.policy.terms.inputs import InputTerm

from .example import EXAMPLE, changed, loaded, small


def loop(keys: str, folder: Path) -> LoopConfig:
    return loaded(small(keys), folder).loops["a"]


@pytest.mark.parametrize(
    ("keys", "period_ns"),
    [
        ("rate_hz: 1000", 1_000_000),
        ("rate_hz: 30", 33_333_333),
        ("rate_hz: 60", 16_666_667),
        ("rate_hz: 20000", 50_000),
        ("rate_hz: 0.1", 10_000_000_000),
        ("rate_hz: 333.3", 3_000_300),
        ("period_ms: 1", 1_000_000),
        ("period_ms: 0.05", 50_000),
        ("period_ms: 33.333333", 33_333_333),
        ("period_ms: 0.1", 100_000),
    ],
)
def test_the_period_is_rounded_to_a_whole_nanosecond(
    keys: str, period_ns: int, folder: Path
) -> None:
    found = loop(keys, folder)
    assert found.period_ns == period_ns
    assert found.nominal_rate_hz == pytest.approx(1e9 / period_ns)


def test_a_tilde_is_the_home_of_the_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    text = changed(
        ("/dev/ttyACM0", "~/cart"), ("rtloop-runs", "~"), ("model: policy", "model: ~/policy")
    )
    config = loaded(text.replace("directory: ~", "directory: '~'"), folder / "elsewhere")
    assert config.links["cart"].device == f"{folder}/cart"
    assert config.recording.directory == str(folder)
    assert config.loops["balance"].policy.model == folder / "policy.onnx"
    moved = with_devices(config, {"cart": "~/other"})
    assert moved.links["cart"].device == f"{folder}/other"


def test_a_tilde_elsewhere_in_a_path_is_a_name(folder: Path) -> None:
    config = loaded(changed(("rtloop-runs", "./~runs~")), folder)
    assert config.recording.directory == "./~runs~"


def test_the_deadline_is_the_period_unless_given(folder: Path) -> None:
    assert loop("rate_hz: 30", folder).deadline_ns == 33_333_333
    assert loop("rate_hz: 30, deadline_ms: 2.5", folder).deadline_ns == 2_500_000
    assert loop("rate_hz: 30, deadline_ms: 33.333333", folder).deadline_ns == 33_333_333


def test_milliseconds_become_whole_nanoseconds(folder: Path) -> None:
    config = loaded(EXAMPLE, folder)
    balance = config.loops["balance"]
    assert balance.budget_ns == 800_000
    assert balance.inputs["cart"].max_age_ns == 5_000_000
    assert balance.inputs["target"].max_age_ns is None
    assert config.links["cart"].command_timeout_ns == 20_000_000
    assert all(
        isinstance(value, int)
        for value in (balance.period_ns, balance.deadline_ns, balance.budget_ns)
    )


def test_the_ring_holds_its_seconds(folder: Path) -> None:
    assert loop("rate_hz: 1000", folder).ring_cycles == 60_000
    assert loop("period_ms: 7, ring_seconds: 61", folder).ring_cycles == 8715  # 8714.3, up


def test_every_default_is_the_documented_one(folder: Path) -> None:
    found = loop("rate_hz: 10", folder)
    assert (found.budget_ns, found.limit, found.inputs) == (None, None, {})
    policy = found.policy
    assert (policy.fix_dimensions, policy.state) == ({}, {})
    assert (policy.action.scale, policy.action.offset, policy.action.clip) == (1.0, 0.0, None)
    assert (found.on_miss, found.on_overrun, found.max_catch_up) == ("hold", "skip", 3)
    assert (found.output, found.ring_seconds) == ("asap", 60)
    realtime = found.realtime
    assert (realtime.scheduler, realtime.thread_priority) == ("fifo", 80)
    assert (realtime.cpu_affinity, realtime.lock_memory) == (None, True)
    assert (realtime.cpu_dma_latency_us, realtime.on_denied) == (0, "warn")
    limit = LimitConfig(max_misses=3)
    assert (limit.window, limit.max_consecutive, limit.on_broken) == (1000, None, "fault")
    term = InputTerm(input="cart")
    assert (term.select, term.scale, term.offset, term.clip) == (None, 1.0, 0.0, None)


def test_null_leaves_the_dma_latency_alone(folder: Path) -> None:
    text = changed(("cpu_dma_latency_us: 0", "cpu_dma_latency_us: null"))
    assert loaded(text, folder).loops["balance"].realtime.cpu_dma_latency_us is None


def test_the_recording_and_links_have_defaults(folder: Path) -> None:
    config = loaded("links: {l: {device: x}}\n" + small("rate_hz: 9"), folder)
    assert (config.recording.enabled, config.recording.directory) == (True, "rtloop-runs")
    link = config.links["l"]
    assert (link.baud, link.command_timeout_ms) == (1_000_000, 20)


def test_one_number_stands_for_all_elements() -> None:
    assert per_element(2.0, 3) == (2.0, 2.0, 2.0)
    assert per_element((1.0, 2.0), 2) == (1.0, 2.0)
    with pytest.raises(ValueError, match="found 2 values; expected 3"):
        per_element((1.0, 2.0), 3)


def test_a_number_or_a_list_is_taken_per_element(folder: Path) -> None:
    text = changed(("min: [-10], max: [10]", "min: -10, max: 10"))
    cart = loaded(text, folder).loops["balance"].outputs["cart"]
    assert (cart.min, cart.max, cart.max_rate_per_s) == (-10, 10, (5000,))


def test_a_configuration_cannot_be_changed(folder: Path) -> None:
    config = loaded(EXAMPLE, folder)
    with pytest.raises(ValidationError, match="frozen"):
        config.loops["balance"].ring_seconds = 90


def test_rules_hold_for_a_configuration_made_in_python(folder: Path) -> None:
    tree = yaml.safe_load(small("rate_hz: 10, deadline_ms: 101, on_miss: hold"))
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(tree, context={"folder": str(folder)})
    message = str(caught.value)
    assert "loops.a.deadline_ms: found 101.0; expected at most the period, 100 ms" in message
    assert "loops.a.on_miss: found 'hold'; expected no on_miss in a soft loop" in message


def test_the_json_schema_knows_every_section_and_the_names_in_the_file() -> None:
    schema = json_schema()
    assert set(schema["properties"]) == {"links", "recording", "loops"}
    loop_keys = schema["$defs"]["LoopConfig"]["properties"]
    assert "class" in loop_keys
    assert "loop_class" not in loop_keys
    assert schema["$defs"]["LoopConfig"]["additionalProperties"] is False
    assert schema["$defs"]["ModelConfig"]["properties"]["model"]["type"] == "string"


def of_class(loop_class: str, keys: str, folder: Path) -> dict[str, float]:
    text = small(f"rate_hz: 100, {keys}").replace("class: soft", f"class: {loop_class}")
    return loaded(text, folder).loops["a"].share_limits


def test_the_limits_of_shares_follow_from_the_class_unless_they_are_given(folder: Path) -> None:
    firm = of_class("firm", "max_share: {stale: 1, held: 0.2}", folder)
    assert (firm["missed"], firm["skipped"], firm["dropped"]) == (0.05, 0.05, 0.01)
    assert (firm["stale"], firm["held"]) == (1.0, 0.2)
    soft = of_class("soft", "max_share: {missed: null}", folder)
    assert soft["missed"] == 0.1, "null is the default, as everywhere"
    assert of_class("hard", "", folder)["missed"] == 0.0


def test_what_the_limit_on_jobs_allows_is_no_failure(folder: Path) -> None:
    limit = "limit: {max_misses: 100, window: 500}"
    found = of_class("firm", f"{limit}, max_share: {{skipped: 0.01}}", folder)
    assert (found["missed"], found["held"], found["stale"]) == (0.2, 0.2, 0.05)
    assert found["skipped"] == 0.01, "what is given counts"
    strict = of_class("firm", "limit: {max_misses: 1, window: 1000}", folder)
    assert strict["missed"] == 0.05, "a run shorter than the window may have its miss"


def test_a_configuration_travels_as_json_and_as_python_values(folder: Path) -> None:
    config = loaded(EXAMPLE, folder)
    text = config.model_dump_json(by_alias=True)
    assert Config.model_validate_json(text).loops == config.loops
    assert Config.model_validate(config.model_dump(by_alias=True)).loops == config.loops
