"""What every peer reports of a timed run, in the terms of train-bench and generate-bench."""

from pathlib import Path


def peak_rss_bytes() -> int:
    """VmHWM of the calling process, as our programs read it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM")


def speed(tokens: int, seconds: float) -> dict[str, float]:
    """Of the calling process, whose peak memory is taken now."""
    return {
        "tokens_per_second": tokens / seconds,
        "tokens": tokens,
        "seconds": seconds,
        "peak_rss_bytes": peak_rss_bytes(),
    }
