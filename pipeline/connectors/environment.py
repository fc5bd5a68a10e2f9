"""Environment of processes that consume media; read at process start, so set before it."""

from __future__ import annotations

from types import MappingProxyType

# Without these glibc gives every multi-megabyte fetch buffer its own mapping and faults it in
# anew at each fetch; with them consuming media costs about half the CPU time.
CONSUMER_ENV = MappingProxyType(
    {
        "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
        "MALLOC_TRIM_THRESHOLD_": str(512 << 20),
        "MALLOC_TOP_PAD_": str(64 << 20),
    }
)
