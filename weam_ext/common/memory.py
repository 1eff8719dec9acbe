"""Memory: what there is, what is used, and sizes as people write them."""

import os
import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

from weam_ext.common.errors import InputError

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def parse_size(text: str) -> int:
    """Bytes of "500M", "1.5G", "2GB" or "1000000"; units of a thousand. Raises `InputError`."""
    size = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]+)?)\s*([KMGT]?)B?", text.strip().upper())
    if not size or not (parsed := int(float(size[1]) * _UNITS[size[2]])):
        raise InputError(f"expected a size such as 500M or 2G, not {text!r}")
    return parsed


def format_size(size: float) -> str:
    """Such as "1.34 GB"."""
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def peak_memory() -> int:
    """The most memory that this process has held, in bytes."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return int(found[1]) * 1024
    # At first that of the process which started this one.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def used_memory() -> int:
    """What this process holds, in bytes; where that is not told, the most that it has held."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return peak_memory()
    return pages * resource.getpagesize()


def available_memory() -> int:
    """What this process may still take without swapping, in bytes; 4 GB where that is not told."""
    known = [_kernel_available(), _group_available()]
    return min((size for size in known if size is not None), default=4 * 10**9)


def _kernel_available() -> int | None:
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _group_available() -> int | None:
    """What a container's control group leaves, its file cache counted as free."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
        cache = re.search(r"^inactive_file (\d+)$", (group / "memory.stat").read_text(), re.M)
    except OSError:
        return None
    if limit == "max":
        return None
    return max(0, int(limit) - used + (int(cache[1]) if cache else 0))


def thread_count(threads: int | None) -> int:
    """`threads`, or if that is None, the number of processors that this process may use."""
    if threads is None:
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1
    if not isinstance(threads, int) or not 1 <= threads < 2**31:
        raise InputError("threads must be at least 1")
    return threads
