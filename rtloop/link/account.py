"""What a device tells of itself over the wire, as an account of its loop."""

from __future__ import annotations

from collections.abc import Mapping

from rtloop.link.messages import DeviceStats
from rtloop.telemetry.observe.device_account import DeviceAccount, DeviceHistogram


def account_of(
    told: tuple[DeviceStats, Mapping[str, tuple[int, ...]]] | None, *, is_final: bool = True
) -> DeviceAccount | None:
    """What a device told of itself, and histograms by ``core.HISTOGRAM_KINDS``, those that it told."""
    if told is None:
        return None
    stats, histograms = told
    missed = stats.misses > 0
    return DeviceAccount(
        is_final=is_final,
        loop_class=stats.loop_class,
        period_us=stats.period_us,
        deadline_us=stats.deadline_us,
        max_misses=stats.max_misses,
        window=stats.window,
        max_consecutive=stats.max_consecutive,
        jobs=stats.jobs,
        skipped=stats.skipped,
        misses=stats.misses,
        limit_broken=stats.limit_broken,
        most_consecutive=stats.most_consecutive,
        lateness_max_us=stats.lateness_max_us,
        worst_job=stats.worst_job,
        worst_after_us=stats.worst_us - stats.began_us if stats.jobs else 0,
        first_miss_job=stats.first_miss_job if missed else None,
        first_miss_after_us=stats.first_miss_us - stats.began_us if missed else None,
        untraced=stats.untraced,
        response_us=DeviceHistogram(histograms.get("response", ()), stats.response_max_us),
        release_latency_us=DeviceHistogram(
            histograms.get("release_latency", ()), stats.release_latency_max_us
        ),
        sample_to_actuation_us=DeviceHistogram(
            histograms.get("sample_to_actuation", ()), stats.sample_to_actuation_max_us
        ),
    )
