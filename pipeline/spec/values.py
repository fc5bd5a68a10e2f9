"""Single values of the file that are neither numbers nor units: each parser raises Wrong.

Wrong carries why and the remedy; the key is known to the caller only.
"""

from __future__ import annotations

import math
import re
from typing import Any

from pipeline.spec.environment import Substituted, settled, typed
from pipeline.spec.media_type import parse_media_type
from pipeline.spec.secret import Secret, is_secret_name
from pipeline.spec.units import Wrong, parse_rfc3339_us

GPU_SHARES_MAX = 10_000  # Ray counts a GPU in ten-thousandths


def parse_matching(pattern: str, why: str, remedy: str, value: Any) -> str:
    """A text that the whole pattern matches."""
    if not isinstance(value, str):
        raise Wrong("must be text", "put it in quotes" if value is not None else remedy)
    if re.fullmatch(pattern, value) is None or value in (".", ".."):
        raise Wrong(why, remedy)
    return str(value)


def parse_version(value: Any) -> int:
    """The version of the file's format: this one."""
    number = typed(value)
    if isinstance(number, bool) or number != 1 or not isinstance(number, int):
        raise Wrong("must be 1, the only version of this format", "write version: 1")
    return 1


def parse_bootstrap(value: Any) -> str:
    remedy = "write HOST:PORT, several with commas between them"
    if not isinstance(value, str) or not value.strip():
        raise Wrong("is no address of a broker", remedy)
    for address in value.split(","):
        host, _, port = address.strip().rpartition(":")
        bare = ":" in host and not (host.startswith("[") and host.endswith("]"))
        if not host or bare or "/" in host or not re.fullmatch("[0-9]{1,5}", port):
            raise Wrong(f"'{address.strip()}' is not HOST:PORT", remedy)
        if not 1 <= int(port) <= 65535:
            raise Wrong(f"{port} is not a port", "ports are 1 to 65535")
    return ",".join(address.strip() for address in value.split(","))


def parse_type(value: Any) -> str:
    if not isinstance(value, str):
        raise Wrong("is no media type", "write it as image/jpeg")
    parse_media_type(str(value))
    return str(value)


def parse_stream(value: Any) -> str:
    if isinstance(value, str):
        name = value.removeprefix("header:")
        if value in ("key", "partition") or (name != value and name.strip()):
            return str(value)
    raise Wrong("is no place of a stream id", "write key, partition or header:NAME")


def parse_start(value: Any) -> int | str:
    if value in ("earliest", "latest"):
        return str(value)
    if not isinstance(value, str):
        raise Wrong("is no start", "write earliest, latest or an RFC 3339 time")
    return parse_rfc3339_us(value)


def parse_gpus(value: Any) -> float | str:
    """auto, 0, a whole number, or 1/n (as a fraction, or a decimal close to one)."""
    remedy = "write auto, 0, a whole number, or one n-th of a GPU such as 0.25 or 1/3"
    value = typed(value)
    if value == "auto":
        return "auto"
    if isinstance(value, str) and re.fullmatch("1/[1-9][0-9]{0,4}", value):
        value = 1 / int(value[2:])
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Wrong("is no number of GPUs", remedy)
    if value < 0:
        raise Wrong("is negative", remedy)
    if value >= 1 or value == 0:
        if value != int(value):
            raise Wrong("is more than one GPU but no whole number", remedy)
        return float(value)
    shares = round(1 / value) if value * GPU_SHARES_MAX >= 0.5 else GPU_SHARES_MAX + 1
    if shares > GPU_SHARES_MAX or abs(value * shares - 1) > 1e-3:
        raise Wrong("is not one n-th of a GPU", remedy)
    return 1 / shares


def parse_names(value: Any) -> tuple[str, ...]:
    """``of``: one name or a list; each once."""
    names = [value] if isinstance(value, str) else value
    remedy = "write the name of an input or stage, or a list of them"
    if not isinstance(names, list) or not names:
        raise Wrong("names nothing to read", remedy)
    if not all(isinstance(name, str) and name for name in names):
        raise Wrong("has an entry that is no name", remedy)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Wrong(f"names '{twice[0]}' twice", "name it once")
    return tuple(str(name) for name in names)


def parse_options(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Wrong("must be a map", "write {name: value, ...}")
    return {
        name: Secret(item) if isinstance(item, Substituted) and is_secret_name(name) else plain
        for (name, item), plain in zip(value.items(), settled(value).values(), strict=True)
    }


def parse_token(value: Any) -> Secret | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise Wrong("must be text", "put it in quotes, or write {file: PATH}")
    return Secret(value)


def parse_text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Wrong("must be text", "write a text that is not empty")
    return str(value)
