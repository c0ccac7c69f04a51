from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from rtloop.config import document as document_module
from rtloop.config import load, loads
from rtloop.errors import ConfigError, RtloopError

from .example import EXAMPLE, changed, complaints, loaded, small


def refused(path: Path | str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return str(caught.value)


def written(folder: Path, data: bytes) -> Path:
    path = folder / "loops.yaml"
    path.write_bytes(data)
    return path


def test_a_text_is_no_bytes() -> None:
    wrong: Any = b"loops: {}"
    with pytest.raises(
        TypeError, match="text: found an object of class bytes; expected the text of"
    ):
        loads(wrong)


def test_the_example_file_loads(folder: Path) -> None:
    path = written(folder, EXAMPLE.encode())
    config = load(path)
    assert config.path == path
    assert config.source_text == EXAMPLE
    assert list(config.loops) == ["balance"]
    assert config.loops["balance"].loop_class == "firm"
    assert load(str(path)) == config


def test_a_model_is_relative_to_the_file_not_to_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(folder, EXAMPLE.encode())
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    policy = load("../loops.yaml").loops["balance"].policy
    assert policy.model is not None
    assert policy.model.is_absolute()
    assert policy.model.samefile(folder / "policy.onnx")


def test_an_absolute_model_path_stays_as_it_is(folder: Path) -> None:
    text = changed(("model: policy.onnx", f"model: {folder}/policy.onnx"))
    policy = loads(text).loops["balance"].policy
    assert policy.model is not None
    assert policy.model == folder / "policy.onnx"


def test_where_gives_file_line_column_and_key(folder: Path) -> None:
    config = loaded(EXAMPLE, folder)
    file = folder / "loops.yaml"
    assert (
        str(config.where("loops", "balance", "rate_hz")) == f"{file}:14:14: loops.balance.rate_hz"
    )
    keys = ("loops", "balance", "outputs", "cart", "safe", 0)
    assert str(config.where(*keys)) == f"{file}:35:80: loops.balance.outputs.cart.safe[0]"
    assert str(config.where()) == f"{file}:2:1: top level"


def test_where_shows_a_default_at_the_section_that_lacks_it(folder: Path) -> None:
    config = loaded(changed(("    ring_seconds: 60\n", "")), folder)
    file = folder / "loops.yaml"
    where = str(config.where("loops", "balance", "ring_seconds"))
    assert where.startswith(f"{file}:13:5: loops.bal")


def test_a_config_error_ends_the_command_line_with_2() -> None:
    assert issubclass(ConfigError, RtloopError)
    assert ConfigError.exit_code == 2


def test_a_missing_file_names_the_nearest(folder: Path) -> None:
    written(folder, b"")
    path = folder / "lops.yaml"
    assert refused(path) == (
        f"{path}: found no such file; expected the path of a YAML file; nearest "
        f"'{folder / 'loops.yaml'}'"
    )


def test_a_missing_file_lists_what_there_is(folder: Path) -> None:
    written(folder, b"")
    path = folder / "robot.json"
    assert refused(path) == (
        f"{path}: found no such file; expected the path of a YAML file, such as loops.yaml"
    )


def test_a_missing_folder_is_refused(folder: Path) -> None:
    path = folder / "no" / "loops.yaml"
    assert refused(path) == f"{path}: found no such file; expected the path of a YAML file"


def test_a_file_used_as_a_folder_is_refused(folder: Path) -> None:
    path = folder / "policy.onnx" / "loops.yaml"
    assert refused(path) == (
        f"{path}: found a file where a folder is named; expected a path whose folders exist"
    )


def test_a_folder_is_refused(folder: Path) -> None:
    written(folder, b"")
    assert refused(folder) == (
        f"{folder}: found a folder; expected the path of a YAML file, such as loops.yaml"
    )


def test_a_file_without_permission_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(folder, EXAMPLE.encode())
    path.chmod(0)
    if os.geteuid() == 0:  # root reads everything

        def denied(*_: object) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("os.open", denied)
    assert refused(path) == (
        f"{path}: found no permission to read it; expected read permission; try: chmod u+r "
        f"{path}, or another user"
    )


def test_an_input_output_error_is_a_config_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.open", broken)
    assert refused("a.yaml") == (
        "a.yaml: found 'Input/output error'; expected a readable YAML file"
    )


def test_a_pipe_without_a_writer_is_refused_at_once(folder: Path) -> None:
    path = folder / "pipe"
    os.mkfifo(path)
    assert refused(path) == f"{path}: found no regular file; expected a YAML file"


def test_an_endless_device_is_refused() -> None:
    assert refused("/dev/zero") == "/dev/zero: found no regular file; expected a YAML file"


def test_a_path_with_a_null_character_is_refused() -> None:
    assert refused("a\0b").startswith("'a\\x00b': found 'embedded null byte'; expected")


def test_a_name_that_is_too_long_is_refused() -> None:
    assert "found 'File name too long'" in refused("x" * 5000)


def test_a_file_of_more_than_256_kib_is_refused(folder: Path) -> None:
    path = written(folder, b"#" * (256 * 1024 + 1))
    assert refused(path) == (
        f"{path}: found more than 262144 bytes; expected a configuration of a few KiB"
    )
    with pytest.raises(ConfigError, match="found more than 262144 characters"):
        loads("#" * (256 * 1024 + 1))


def test_bytes_that_are_not_utf8_are_shown_with_their_place(folder: Path) -> None:
    path = written(folder, EXAMPLE.replace("ttyACM0", "ttyÄ").encode("latin-1"))
    assert refused(path) == (
        f"{path}:5:21: top level: found byte 0xc4, which is not UTF-8; expected UTF-8 text: save "
        "the file as UTF-8, or check that it is the YAML file"
    )


def test_utf16_is_refused(folder: Path) -> None:
    path = written(folder, EXAMPLE.encode("utf-16"))
    assert refused(path).startswith(f"{path}:1:1: top level: found byte 0xff, which is not UTF-8")


def test_a_binary_file_is_refused(folder: Path) -> None:
    path = written(folder, b"\x7fELF\x02\x01\x01\x00")
    assert refused(path).startswith(f"{path}:1:1: top level: found the character U+007F; expected")


def test_a_byte_order_mark_and_windows_line_ends_are_no_problem(folder: Path) -> None:
    path = written(folder, b"\xef\xbb\xbf" + EXAMPLE.replace("\n", "\r\n").encode())
    assert str(load(path).where("loops", "balance", "rate_hz")).startswith(f"{path}:14:14:")


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "--- null\n"])
def test_an_empty_file_is_refused(text: str, folder: Path) -> None:
    (line,) = complaints(text, folder)
    assert line.startswith("loops.yaml:1:")
    assert "top level: found " in line


def test_an_empty_file_says_what_belongs_there(folder: Path) -> None:
    assert complaints("", folder) == [
        "loops.yaml:1:1: top level: found an empty file; expected the keys 'loops' and 'links'"
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [("- a\n- b\n", "a list of 2"), ("loops", "'loops'"), ("3", "3"), ("on", "on (YAML 1.1 reads")],
)
def test_a_top_level_that_is_no_mapping_is_refused(text: str, found: str, folder: Path) -> None:
    (line,) = complaints(text, folder)
    assert line.startswith(f"loops.yaml:1:1: top level: found {found}")
    assert line.endswith("expected a mapping")


def test_a_file_without_loops_is_refused(folder: Path) -> None:
    assert complaints("recording: {enabled: false}\n", folder) == [
        "loops.yaml:1:1: loops: found nothing; expected this required key (loop names and loops)"
    ]
    assert complaints("loops: {}\n", folder) == [
        "loops.yaml:1:8: loops: found an empty mapping; expected at least 1 element (loop names "
        "and loops)"
    ]


def test_deep_nesting_is_refused_before_it_is_followed(folder: Path) -> None:
    (line,) = complaints("[" * 100_000, folder)
    assert line == (
        "loops.yaml:1:33: top level: found more than 32 levels of nesting; expected the few levels "
        "of a configuration"
    )


def test_nested_aliases_do_not_grow_without_bound(folder: Path) -> None:
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    pairs = zip("abcdefgh", "bcdefghi", strict=True)
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in pairs]
    (line,) = complaints("\n".join(lines), folder)
    assert "found more than 20000 values once aliases are followed; expected" in line


def test_nested_merges_do_not_grow_without_bound(folder: Path) -> None:
    lines = ["a: &a {k: 1}"]
    pairs = zip("abcde", "bcdef", strict=True)
    lines += [f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 30)}]}}" for a, b in pairs]
    (line,) = complaints("\n".join(lines), folder)
    assert "found more than 20000 values once aliases are followed; expected" in line


def test_a_merge_of_itself_is_refused(folder: Path) -> None:
    (line,) = complaints("loops: &l {a: 1, <<: *l}", folder)
    assert "found an alias that contains itself; expected" in line


def test_anchors_and_merge_keys_share_sections(folder: Path) -> None:
    config = loaded(
        """\
loops:
  left: &base
    class: soft
    rate_hz: 100
    deadline_ms: 5
    policy: {model: policy.onnx, observation: [{previous_action: true}]}
    outputs: {o: {mailbox: true, safe: [0]}}
    realtime: &rt {scheduler: other, lock_memory: false}
  right:
    <<: *base
    rate_hz: 200
  middle:
    <<: [{ring_seconds: 90, deadline_ms: 6}, *base]
    realtime: *rt
""",
        folder,
    )
    assert config.loops["right"].period_ns == 5_000_000
    assert config.loops["right"].realtime == config.loops["left"].realtime
    middle = config.loops["middle"]
    assert (middle.deadline_ms, middle.ring_seconds, middle.rate_hz) == (6, 90, 100)


def test_a_wrong_merged_value_is_shown_where_it_was_written(folder: Path) -> None:
    text = small("rate_hz: fast").replace("a: {", "a: &a {") + "  b: {<<: *a}\n"
    first, second = (line.split(" found")[0] for line in complaints(text, folder))
    assert first.endswith(" loops.a.rate_hz:")
    assert second == first.replace("loops.a", "loops.b")
    assert first.startswith("loops.yaml:2:")


def test_an_own_key_hides_the_wrong_one_that_is_merged(folder: Path) -> None:
    text = small("rate_hz: fast").replace("a: {", "a: &a {") + "  b: {<<: *a, rate_hz: 1}\n"
    (line,) = complaints(text, folder)
    assert " loops.a.rate_hz: found 'fast'; " in line


def test_a_quoted_on_is_a_name_like_any_other(folder: Path) -> None:
    config = loaded(small("rate_hz: 10").replace("  a:", '  "on":'), folder)
    assert list(config.loops) == ["on"]


@pytest.mark.parametrize(
    ("written_as", "rate_hz"),
    [("1e3", 1000.0), ("1.0e+3", 1000.0), ("1_000", 1000.0), ("0x3E8", 1000.0), ("+10.5", 10.5)],
)
def test_a_number_may_be_written_as_engineers_do(
    written_as: str, rate_hz: float, folder: Path
) -> None:
    config = loaded(small(f"rate_hz: {written_as}"), folder)
    assert config.loops["a"].rate_hz == rate_hz


@pytest.mark.parametrize(("word", "value"), [("yes", True), ("on", True), ("Off", False)])
def test_yes_and_no_are_truth_values_where_one_is_expected(
    word: str, value: bool, folder: Path
) -> None:
    text = f"recording: {{enabled: {word}}}\n" + small("rate_hz: 10")
    assert loaded(text, folder).recording.enabled is value


def test_a_date_is_a_text(folder: Path) -> None:
    text = "recording: {directory: 2024-05-01}\n" + small("rate_hz: 10")
    assert loaded(text, folder).recording.directory == "2024-05-01"


def test_a_number_of_five_thousand_digits_is_an_ordinary_problem(folder: Path) -> None:
    (line,) = complaints(small(f"rate_hz: {'9' * 5000}"), folder)
    assert "found 999999" in line
    assert len(line) < 400


def test_the_python_loader_finds_the_same_problems(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = changed(("rate_hz: 1000", "rate_hz: on"), ("on_miss: hold", "onmiss: 010"))
    expected = complaints(text, folder)
    monkeypatch.setattr(document_module, "LOADER", yaml.SafeLoader)
    assert complaints(text, folder) == expected
    assert loaded(EXAMPLE, folder).source_text == EXAMPLE


def test_importing_the_configuration_does_not_import_the_heavy_packages() -> None:
    code = "import sys, json; from rtloop.config import load; print(json.dumps(list(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    roots = {name.split(".")[0] for name in json.loads(result.stdout)}
    assert not roots & {"numpy", "onnx", "onnxruntime", "mcap", "serial", "psutil"}
