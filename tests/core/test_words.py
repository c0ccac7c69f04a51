"""The vocabulary: every word has a number, a sentence and, where a person can act, a remedy."""

from __future__ import annotations

import pytest

from rtloop import core

WITH_REMEDY = ("stages", "events", "port_events", "fault_reasons")
ALL = [(table, word) for table, words in core.WORDS.items() for word in words]


@pytest.mark.parametrize(("table", "word"), ALL)
def test_a_word_has_a_sentence_and_where_one_can_act_a_remedy(table: str, word: str) -> None:
    entry = core.WORDS[table][word]
    for text in (entry.sentence, entry.remedy if table in WITH_REMEDY else "nothing"):
        assert text
        assert text == text.strip()
        assert not text[0].isupper() or text.startswith("ONNX"), "it continues a line"
        assert not text.endswith(".")


@pytest.mark.parametrize("table", core.WORDS)
def test_numbers_are_unique_and_events_are_single_bits(table: str) -> None:
    numbers = [entry.number for entry in core.WORDS[table].values()]
    assert len(set(numbers)) == len(numbers)
    if table == "events":
        assert all(number.bit_count() == 1 for number in numbers)
    else:
        assert sorted(numbers) == list(range(len(numbers))), "a table without holes"


def test_the_numbers_of_recordings_never_change() -> None:
    """What was recorded once means the same for ever."""
    old = {
        "classes": ["hard", "firm", "soft"],
        "outcomes": ["none", "written", "written_late", "held", "default", "safe", "dropped"],
        "stages": ["none", "release", "read", "infer", "write"],
        "fault_reasons": [
            *("none", "deadline_miss", "limit_broken", "non_finite", "port_error", "stale_input"),
            *("hang", "infer_error", "device_safe"),
        ],
        "port_events": [
            *("clock", "late_command", "state_change", "bad_packet", "schema_mismatch", "unknown"),
            *("lost", "reconnecting", "reconnected", "gave_up", "not_armed", "deadline_miss"),
        ],
    }
    for table, words in old.items():
        numbers = {name: core.WORDS[table][name].number for name in words}
        assert numbers == {name: number for number, name in enumerate(words)}, table
    events = ["miss", "budget_overrun", "stale_input", "non_finite", "clamped", "slew_limited"]
    events += ["guard", "limit_broken", "port_error", "fault", "injected", "unfinished"]
    assert {name: core.EVENTS[name] for name in events} == {
        name: 1 << bit for bit, name in enumerate(events)
    }
