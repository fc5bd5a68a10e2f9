"""What a compressed record batch holds, by pyarrow's codecs, which are always there.

kafka-python needs a package for each of lz4, zstd and snappy, and takes no zstd frame of unstated
size over 1 MiB, which is how every Java producer writes larger ones.
"""

from __future__ import annotations

import pyarrow as pa

_STREAMED = {1: "gzip", 3: "lz4", 4: "zstd"}
_SNAPPY = 2
# What Java writes: blocks of their own behind a header and two versions (snappy-java, "xerial").
_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16
_SNAPPY_GROWTH_MAX = 22  # three bytes are 64 at most: what says more is not worth the room for it
_PIECE_BYTES = 1 << 20
BATCH_BYTES_MAX = 1 << 30  # a batch of some MB may say that it is terabytes


def decompressed(codec: int, body: memoryview) -> bytes:
    """``codec``: as in a batch's attributes. ValueError where the body is damaged or too large."""
    try:
        if codec == _SNAPPY:
            return _snappy(body)
        return _streamed(_STREAMED[codec], body)
    except KeyError:
        raise ValueError(f"compressed by codec {codec}, which Kafka does not have") from None
    except OSError as error:
        raise ValueError(str(error)) from error


def _streamed(codec: str, body: memoryview) -> bytes:
    """In pieces: a read takes room for all that it may bring."""
    pieces, size = [], 0
    with pa.CompressedInputStream(pa.BufferReader(body), codec) as stream:
        while piece := stream.read(_PIECE_BYTES):
            pieces.append(piece)
            size += len(piece)
            _demand_small(size)
    return b"".join(pieces)


def _snappy(body: memoryview) -> bytes:
    if body[: len(_XERIAL)] != _XERIAL:
        return _snappy_block(body)
    blocks, size, at = [], 0, _XERIAL_HEADER_BYTES
    while at < len(body):
        length = int.from_bytes(body[at : at + 4], "big")
        end = at + 4 + length
        if end > len(body):
            raise ValueError(f"a block of {length} bytes, of which {len(body) - at - 4} are there")
        blocks.append(_snappy_block(body[at + 4 : end]))
        size += len(blocks[-1])
        _demand_small(size)
        at = end
    return b"".join(blocks)


def _snappy_block(block: memoryview) -> bytes:
    """Its size stands in front, seven bits a byte, the least first."""
    size = 0
    for place, byte in enumerate(block[:5]):
        size |= (byte & 127) << 7 * place
        if byte < 128:
            break
    else:
        raise ValueError("a snappy block without its size")
    if size > _SNAPPY_GROWTH_MAX * len(block):
        raise ValueError(f"a snappy block of {len(block)} bytes that says it is {size}")
    found: bytes = pa.decompress(block, decompressed_size=size, codec="snappy", asbytes=True)
    return found


def _demand_small(size: int) -> None:
    if size > BATCH_BYTES_MAX:
        raise ValueError(f"decompressed it is larger than {BATCH_BYTES_MAX} bytes")
