"""What the writer makes of whole arrays is the file that the official package makes and reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mcap.reader import NonSeekingReader, SeekingReader
from mcap_ros2.decoder import DecoderFactory

from rtloop.telemetry.mcap.writer import CHUNK_BYTES, RecordingWriter
from rtloop.telemetry.observe.records import missed
from tests.telemetry.loops import REALTIME_NS_OFFSET, batch_of, cycles, metadata

N = 3000


def two_loops(path: Path) -> None:
    """3000 cycles each, in small batches that take turns; words of three kinds in their misses."""
    writer = RecordingWriter(path)
    writer.describe_run("run", {"kernel": "6.18"})
    for name in ("balance", "arm"):
        writer.add_loop(metadata(name))
    records = cycles(N, miss_every=3)
    records["longest_stage"][missed(records)] = np.arange(N // 3) % 3 + 1
    batch = batch_of(records, metadata())
    for begin in range(0, N, 70):
        for name in ("balance", "arm"):
            writer.write(name, batch.part(begin, begin + 70))
        if begin == 1400:
            writer.flush()
    writer.finish({"loops": {}})


def test_the_official_reader_finds_every_message_in_order_by_its_index(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    two_loops(path)
    with path.open("rb") as file:
        reader = SeekingReader(file, validate_crcs=True, decoder_factories=[DecoderFactory()])
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
        assert summary.statistics.message_count == 2 * (2 * N + N // 3)
        assert summary.statistics.chunk_count == len(summary.chunk_indexes)
        assert len(list(reader.iter_metadata())) == summary.statistics.metadata_count
        first = REALTIME_NS_OFFSET + 5_000_000_000
        times = (summary.statistics.message_start_time, summary.statistics.message_end_time)
        assert times == (first, first + (N - 1) * 1_000_000)
        for index in summary.chunk_indexes:
            assert index.uncompressed_size < CHUNK_BYTES + 20_000
        topics = ["/rtloop/arm/cycle", "/rtloop/arm/miss"]
        begin, end = first + 500 * 1_000_000, first + 1000 * 1_000_000
        found = list(reader.iter_decoded_messages(topics, starting_at=begin, ending_before=end))
        at = [message.log_time for _, _, message, _ in found]
        assert at == sorted(at)
        by_topic = {
            topic: [ros.cycle for _, channel, _, ros in found if channel.topic == topic]
            for topic in topics
        }
        assert by_topic["/rtloop/arm/cycle"] == list(range(500, 1000))
        assert by_topic["/rtloop/arm/miss"] == [k for k in range(500, 1000) if k % 3 == 2]
        words = {ros.longest_stage for _, channel, _, ros in found if "miss" in channel.topic}
        assert words == {"release", "read", "infer"}


def test_it_reads_alike_without_the_index(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    two_loops(path)
    found = []
    for kind in (SeekingReader, NonSeekingReader):
        with path.open("rb") as file:
            messages = kind(file, validate_crcs=True).iter_messages(log_time_order=True)
            found.append(sorted((c.topic, m.sequence, m.log_time, m.data) for _, c, m in messages))
    assert found[0] == found[1]
    assert len(found[0]) == 2 * (2 * N + N // 3)
