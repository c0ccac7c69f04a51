from __future__ import annotations

import pytest

from rtloop.errors import LinkError
from rtloop.link import SchemaField, parse_schema

HEAD = "rtloop-schema 1\nname cart\n"


def test_a_canonical_text_is_read_field_by_field() -> None:
    schema = parse_schema(
        HEAD + "sensor x m f32 1000\nsensor w rad/s f32 1000\ncommand u - f32 500\n"
    )
    assert schema.name == "cart"
    assert schema.sensors == (
        SchemaField("x", "m", "f32", 1000),
        SchemaField("w", "rad/s", "f32", 1000),
    )
    assert schema.commands == (SchemaField("u", "-", "f32", 500),)
    assert 1 <= schema.id <= 0xFFFF


def test_any_change_of_the_text_changes_the_id() -> None:
    text = HEAD + "sensor x m f32 1000\n"
    assert parse_schema(text).id != parse_schema(text.replace(" m ", " km ")).id


def test_a_name_may_be_a_sensor_and_a_command() -> None:
    schema = parse_schema(HEAD + "sensor x m f32 10\ncommand x m f32 20\n")
    assert len(schema.sensors) == len(schema.commands) == 1


def test_128_values_a_direction_fit() -> None:
    lines = [f"sensor s{i} m f32 10\n" for i in range(129)]
    assert len(parse_schema(HEAD + "".join(lines[:128])).sensors) == 128
    with pytest.raises(LinkError, match=r"line 131.*at most 128"):
        parse_schema(HEAD + "".join(lines))


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("", 1, "found nothing"),
        ("\n", 1, "rtloop-schema 1"),
        ("rtloop-schema 2\nname x\n", 1, "'rtloop-schema 2'"),
        ("rtloop-schema 1\n", 2, "'name'"),
        ("rtloop-schema 1\nname\n", 2, "'name'"),
        ("rtloop-schema 1\nname Cart\n", 2, "'name Cart'"),
        (HEAD + "sensor x m f32 1000", 3, "newline"),
        (HEAD + "\n", 3, "'sensor' or 'command'"),
        (HEAD + "sensor x m f32\n", 3, "name, unit, type and rate"),
        (HEAD + "sensor  x m f32 10\n", 3, "name, unit, type and rate"),
        (HEAD + "actuator x m f32 10\n", 3, "'sensor' or 'command'"),
        (HEAD + "sensor X m f32 10\n", 3, "'X'"),
        (HEAD + "sensor x m f64 10\n", 3, "f32"),
        (HEAD + "sensor x m f32 0\n", 3, "'0'"),
        (HEAD + "sensor x m f32 1e3\n", 3, "'1e3'"),
        (HEAD + "sensor x m f32 -5\n", 3, "'-5'"),
        (HEAD + "sensor x m f32 10\nsensor x m f32 10\n", 4, "second time"),
        (HEAD + "sensor x m f32 10\nsensor y m f32 20\n", 4, "10 Hz, the rate of 'x'"),
        (HEAD + "command x m f32 10\nsensor y m f32 10\n", 4, "before the first command"),
    ],
)
def test_a_wrong_text_is_refused_with_its_line(text: str, line: int, hint: str) -> None:
    with pytest.raises(LinkError) as refused:
        parse_schema(text)
    assert f"line {line}:" in str(refused.value)
    assert hint in str(refused.value)
    assert "expected" in str(refused.value)
