"""Turns test_vectors.json into a C header: ``vectors_to_c.py test_vectors.json vectors.h``."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

PLAIN = ("clear", "status_request", "stats_request")  # messages without a payload have no struct


def c_bytes(text: str) -> str:
    """A string literal: unlike an array it may be empty, and its pieces never run together."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in bytes.fromhex(text)) + '"'


def c_blob(text: str) -> str:
    return f"{{(const uint8_t *){c_bytes(text)}, {len(text) // 2}}}"


def c_float(value: float | str) -> str:
    number = float(value)
    if math.isnan(number):
        return "NAN"
    if math.isinf(number):
        return "INFINITY" if number > 0 else "-INFINITY"
    return f"{number.hex()}f"


def c_integer(value: int) -> str:
    if value < 0:
        return f"({value + 1} - 1)"
    return f"{value}u" if value < 2**32 else f"UINT64_C({value})"


def c_message(fields: dict[str, Any]) -> str:
    parts = []
    for field, value in fields.items():
        if field == "values":
            listed = ", ".join(c_float(item) for item in value) or "0"
            parts += [f".count = {len(value)}", f".values = {{{listed}}}"]
        elif field == "counts":
            listed = ", ".join(map(c_integer, value)) or "0"
            parts += [f".count = {len(value)}", f".counts = {{{listed}}}"]
        elif field == "bytes":
            listed = ", ".join(str(byte) for byte in bytes.fromhex(value)) or "0"
            parts += [f".size = {len(value) // 2}", f".bytes = {{{listed}}}"]
        elif field == "name":
            parts.append(f'.name = "{value}"')
        else:
            parts.append(f".{field} = {c_integer(value)}")
    return "{" + ", ".join(parts) + "}"


def c_header(fields: dict[str, int]) -> str:
    return "{" + ", ".join(f".{field} = {value}u" for field, value in fields.items()) + "}"


def table(type_name: str, name: str, rows: list[str]) -> str:
    return f"static const {type_name} {name}[] = {{\n    " + ",\n    ".join(rows) + ",\n};\n"


def header_file(vectors: dict[str, list[dict[str, Any]]]) -> str:
    parts = ['/* Made by vectors_to_c.py. */\n#include "vector_types.h"\n']
    parts.append(
        table(
            "packet_vector",
            "packet_vectors",
            [
                f'{{"{v["name"]}", {c_header(v["header"])}, {c_blob(v["payload"])}, '
                f"{c_blob(v['packet'])}, {c_blob(v['frame'])}}}"
                for v in vectors["packets"]
            ],
        )
    )
    rows = [
        f'{{"{v["name"]}", {c_blob(v["packet"])}, {c_blob(v["frame"])}}}' for v in vectors["frames"]
    ]
    parts.append(table("frame_vector", "frame_vectors", rows))
    rows = [
        f'{{"{v["name"]}", {c_blob(v["packet"])}, RTL_{v["status"]}}}'
        for v in vectors["bad_packets"]
    ]
    parts.append(table("bad_packet_vector", "bad_packet_vectors", rows))
    rows = []
    for i, v in enumerate(vectors["streams"]):
        packets = [c_blob(packet) for packet in v["packets"]]
        parts.append(table("blob", f"stream_packets_{i}", packets))
        rows.append(
            f'{{"{v["name"]}", {c_blob(v["bytes"])}, stream_packets_{i}, {len(packets)}, '
            f"{v['errors']}, {v['empty']}}}"
        )
    parts.append(table("stream_vector", "stream_vectors", rows))
    rows = [f"{{{c_blob(v['bytes'])}, {v['crc32']}u}}" for v in vectors["checksums"]]
    parts.append(table("checksum_vector", "checksum_vectors", rows))
    rows = [f"{{{c_blob(v['text'].encode().hex())}, {v['id']}u}}" for v in vectors["schema_ids"]]
    parts.append(table("schema_id_vector", "schema_id_vectors", rows))
    # One line a message: MESSAGE(struct, name of the vector, payload, initialiser)
    parts.append("#define MESSAGE_VECTORS(MESSAGE) \\")
    messages = [v for v in vectors["packets"] if v["message"] not in PLAIN]
    for v in messages:
        parts.append(
            f'    MESSAGE(rtl_{v["message"]}, "{v["name"]}", {c_bytes(v["payload"])}, '
            f"{c_message(v['fields'])}) \\"
        )
    return "\n".join(parts) + "\n\n"


if __name__ == "__main__":
    source, target = sys.argv[1:]
    Path(target).write_text(header_file(json.loads(Path(source).read_text())))
