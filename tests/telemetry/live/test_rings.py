"""Which loops are found on this host, and whose never are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from rtloop import core
from rtloop.telemetry.live.rings import LiveRings
from rtloop.telemetry.observe.ring import NO_METADATA, LoopMetadata
from tests.telemetry.loops import WriterProcess, append, batch_of, cycles, metadata, new_ring

RUN = "20260101T000000-test"


def names(live: LiveRings) -> list[str]:
    return sorted(ring.metadata.loop for ring in live.new())


def folder_of(ring_directory: Path, run_id: str = RUN) -> Path:
    folder = ring_directory / run_id
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def test_a_loop_is_found_once_for_as_long_as_it_is_there(ring_directory: Path) -> None:
    live = LiveRings(ring_directory)
    assert names(live) == []
    folder = folder_of(ring_directory)
    arm = new_ring(folder, metadata("arm"))
    append(arm, batch_of(cycles(3), metadata("arm")))
    assert names(live) == ["arm"]
    assert names(live) == []
    leg = new_ring(folder, metadata("leg"))
    assert names(live) == ["leg"]
    again = metadata("arm", run_id="20260101T000001-test")
    new_ring_of_it = new_ring(folder_of(ring_directory, again.run_id), again)
    assert names(live) == ["arm"]
    del arm, leg, new_ring_of_it


def test_a_reader_goes_on_when_the_ring_is_deleted(ring_directory: Path) -> None:
    folder = folder_of(ring_directory)
    arm = new_ring(folder, metadata("arm"))
    (ring,) = LiveRings(ring_directory).new()
    shutil.rmtree(folder)
    append(arm, batch_of(cycles(3), metadata("arm")))
    assert len(ring.read()) == 3


def test_a_ring_that_says_nothing_yet_is_found_when_it_does(ring_directory: Path) -> None:
    live = LiveRings(ring_directory)
    path = folder_of(ring_directory) / "arm.ring"
    loop: LoopMetadata = metadata("arm")
    arm = core.RingWriter(str(path), 64, 2, 3, 2, NO_METADATA)
    assert names(live) == []
    arm.set_metadata(loop.to_json().encode())
    assert names(live) == ["arm"]


def test_what_has_ended_and_what_is_no_ring_is_not_found(ring_directory: Path) -> None:
    folder = folder_of(ring_directory)
    new_ring(folder, metadata("ended"))  # dropped at once
    (folder / "damaged.ring").write_bytes(b"x" * 8192)
    (folder / "of_another.ring").write_bytes(b"")
    (ring_directory / "no_folder").write_text("")
    with WriterProcess(folder, "dead", n=10) as writer:
        writer.wait_written()
        assert names(LiveRings(ring_directory)) == ["dead"]
        writer.kill()
        assert names(LiveRings(ring_directory)) == []


def test_a_ring_of_another_run_in_this_ones_folder_is_not_believed(ring_directory: Path) -> None:
    arm = new_ring(folder_of(ring_directory), metadata("arm", run_id="another"))
    assert names(LiveRings(ring_directory)) == []
    assert Path(arm.path).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_what_another_user_could_have_written_is_not_opened(ring_directory: Path) -> None:
    theirs = folder_of(ring_directory, "theirs")
    foreign = new_ring(theirs, metadata("arm", run_id="theirs"))
    os.chown(theirs, 65534, 65534)
    open_to_all = folder_of(ring_directory)
    writable = new_ring(open_to_all, metadata("arm"))
    open_to_all.chmod(0o777)
    (ring_directory / "linked").symlink_to(open_to_all)
    live = LiveRings(ring_directory)
    assert names(live) == []
    open_to_all.chmod(0o700)
    assert names(live) == ["arm"], "its own folder, as it has to be"
    del foreign, writable
