"""What the core redeclares of rcl, against the headers of the ROS that is here, from wheels or from apt."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PREFIXES = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(":") if p]
HEADERS = next(
    (p / "include" for p in (*PREFIXES, Path(sys.prefix)) if (p / "include/rcl").is_dir()), None
)

SOURCE = """\
#include <rcl/publisher.h>
#include <rcl/subscription.h>
#include <rcutils/error_handling.h>

#include "rtloop/core/topics/rcl_api.hpp"

namespace ours = rtloop::rcl;

#define SAME(Ours, Theirs) static_assert(sizeof(Ours) == sizeof(Theirs) && alignof(Ours) == alignof(Theirs))
#define FIELD(Ours, Theirs, field) static_assert( \\
    offsetof(Ours, field) == offsetof(Theirs, field) && sizeof(Ours::field) == sizeof(Theirs::field))

SAME(ours::Ret, rcl_ret_t);
static_assert(ours::kOk == RCL_RET_OK && ours::kTakeFailed == RCL_RET_SUBSCRIPTION_TAKE_FAILED);
static_assert(ours::kNoSequenceNumber == RMW_MESSAGE_INFO_SEQUENCE_NUMBER_UNSUPPORTED);

SAME(ours::Allocator, rcutils_allocator_t);
FIELD(ours::Allocator, rcutils_allocator_t, allocate);
FIELD(ours::Allocator, rcutils_allocator_t, deallocate);
FIELD(ours::Allocator, rcutils_allocator_t, reallocate);
FIELD(ours::Allocator, rcutils_allocator_t, zero_allocate);
FIELD(ours::Allocator, rcutils_allocator_t, state);

SAME(ours::Bytes, rcl_serialized_message_t);
FIELD(ours::Bytes, rcl_serialized_message_t, buffer);
FIELD(ours::Bytes, rcl_serialized_message_t, buffer_length);
FIELD(ours::Bytes, rcl_serialized_message_t, buffer_capacity);
FIELD(ours::Bytes, rcl_serialized_message_t, allocator);

SAME(ours::MessageInfo, rmw_message_info_t);
FIELD(ours::MessageInfo, rmw_message_info_t, source_timestamp);
FIELD(ours::MessageInfo, rmw_message_info_t, received_timestamp);
FIELD(ours::MessageInfo, rmw_message_info_t, publication_sequence_number);
FIELD(ours::MessageInfo, rmw_message_info_t, reception_sequence_number);
FIELD(ours::MessageInfo, rmw_message_info_t, publisher_gid);
FIELD(ours::MessageInfo, rmw_message_info_t, from_intra_process);
static_assert(ours::kGidSize == RMW_GID_STORAGE_SIZE);
static_assert(offsetof(decltype(ours::MessageInfo::publisher_gid), data) == offsetof(rmw_gid_t, data));

// A call of each, as the core makes it, is one that theirs takes: pointers of any kind for their own.
rcl_ret_t (*take)(const rcl_subscription_t *, rcl_serialized_message_t *, rmw_message_info_t *,
                  rmw_subscription_allocation_t *) = rcl_take_serialized_message;
rcl_ret_t (*publish)(const rcl_publisher_t *, const rcl_serialized_message_t *,
                     rmw_publisher_allocation_t *) = rcl_publish_serialized_message;
rcl_ret_t (*tell)(const rcl_subscription_t *, rcl_event_callback_t, const void *) =
    rcl_subscription_set_on_new_message_callback;
static_assert(__is_same(rcl_event_callback_t, ours::NewMessage));
void (*forget)() = rcutils_reset_error;
rcutils_allocator_t (*allocator)() = rcutils_get_default_allocator;
"""


@pytest.mark.skipif(HEADERS is None, reason="no headers of rcl: source ROS 2's setup.bash")
@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler: apt-get install g++")
def test_what_the_core_redeclares_of_rcl_is_what_rcl_declares(tmp_path: Path) -> None:
    assert HEADERS is not None
    (tmp_path / "api.cpp").write_text(SOURCE)
    folders = [f"-I{folder}" for folder in sorted(HEADERS.iterdir()) if folder.is_dir()]
    command = ["c++", "-std=c++20", "-fsyntax-only", f"-I{ROOT}", *folders, "api.cpp"]
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}  # the compiler's own
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
