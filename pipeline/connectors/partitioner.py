"""Which partition a key belongs to: murmur2, as in the Java client and kafka-python.

librdkafka's default is another hash (CRC32); producers that use it must be told
``partitioner=murmur2_random``, or one stream has different partitions in different topics.
"""

from __future__ import annotations

_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """MurmurHash2 with Kafka's seed (org.apache.kafka.common.utils.Utils), unsigned 32 bits."""
    length = len(data)
    h = 0x9747B28C ^ length
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * _M & _MASK
        h = (h * _M & _MASK) ^ ((k ^ k >> 24) * _M & _MASK)
    if length > whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


def partition_for(key: bytes, count: int) -> int:
    """The partition, of ``count``, that Kafka's default partitioner gives to a record's key."""
    return (murmur2(key) & 0x7FFFFFFF) % count
