"""What every peer reports of a timed run, in the terms of train-bench and generate-bench."""

import resource


def speed(tokens: int, seconds: float) -> dict[str, float]:
    """Of the calling process, whose peak memory is taken now."""
    return {
        "tokens_per_second": tokens / seconds,
        "tokens": tokens,
        "seconds": seconds,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
