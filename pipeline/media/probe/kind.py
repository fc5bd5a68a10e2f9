"""The media type of a topic: by what its records state, else by what their bytes are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from pipeline.media.facts import SAMPLE_BYTES
from pipeline.media.probe.formats import JSON, RAW, TEXT, Payload, is_read, recognise
from pipeline.media.probe.raw import RawGuess, guess_rate, guess_raw
from pipeline.media.probe.sample import Finding, Placed, header, most, shown
from pipeline.slot.ports import LogRecord
from pipeline.spec.media_type import READABLE, MediaType, parse_media_type

Kind = Literal["audio", "image", "video", "text"]
_RAW_MAX = 64  # records whose samples are looked at


class TypeGuess(NamedTuple):
    """``type`` as a pipeline file has it; ``trouble`` says why there is none."""

    type: str = ""
    kind: Kind = "text"
    trouble: str = ""
    longest_us: int = 1
    findings: tuple[Finding, ...] = ()


def guess_type(
    records: Sequence[LogRecord], payloads: Sequence[bytes], placed: Sequence[Placed], live: bool
) -> TypeGuess:
    """The type of the payloads. ``records``: those whose headers speak of them.

    ``live``: whether the times of ``placed`` are when the media was taken.
    """
    if not payloads:
        return TypeGuess(trouble="no record holds a payload at the field that was found")
    found = [recognise(payload) for payload in payloads]
    stated = [value for r in records if (value := header(r, "content-type")) is not None]
    if stated:
        return _by_statement(stated, len(records), payloads, found)
    content_type, share = most(each.content_type for each in found)
    findings: tuple[Finding, ...] = ()
    if share < 1:
        others = sorted({each.content_type or "something else" for each in found} - {content_type})
        text = f"{share:.0%} of the records; the others are {', '.join(others)}: dead letters"
        findings = (Finding("type", text, "sure"),)
    if content_type == RAW:
        return _joined(_by_samples(payloads, placed, live), findings)
    if content_type in (TEXT, JSON):
        plain = content_type == TEXT
        text = "UTF-8 text" if plain else "JSON, taken as text"
        about = Finding("type", text, "likely" if plain else "guess")
        return TypeGuess(TEXT, "text", findings=(about, *findings))
    if not is_read(content_type):
        why = f"it holds {content_type}, which this version does not read"
        return TypeGuess(trouble=f"{why}; send one of {', '.join(READABLE)}", findings=findings)
    sound = [each for each in found if each.content_type == content_type and each.facts]
    return _joined(_by_header(content_type, found, sound), findings)


def _joined(guess: TypeGuess, findings: tuple[Finding, ...]) -> TypeGuess:
    return guess._replace(findings=(*guess.findings, *findings))


def _by_statement(
    stated: Sequence[bytes], records: int, payloads: Sequence[bytes], found: Sequence[Payload]
) -> TypeGuess:
    """The header ``content-type`` decides about each record, whatever the file says."""
    raw, share = most(stated)
    text = raw.decode("ascii", "replace")
    if not is_read(text):
        why = f"its records state content-type {shown(text)}, which this version does not read"
        return TypeGuess(trouble=f"{why}; send the media type of their payload, or none")
    media = parse_media_type(text, strict=False)
    seen, _ = most(each.content_type for each in found)
    essence = f"{media.kind}/{media.subtype}"
    if seen not in (RAW, TEXT, JSON, essence):
        why = f"its records state content-type {shown(text)} and hold {seen}"
        return TypeGuess(trouble=f"{why}; correct what sends them")
    all_say = len(stated) == records and share == 1
    about = f"{media}, as the header content-type says"
    if not all_say:
        about += f" in {round(share * len(stated))} of {records} records"
    findings = [Finding("type", about, "sure" if all_say else "likely")]
    if media.format in SAMPLE_BYTES:
        sounds = guess_raw(payloads[:_RAW_MAX])
        if (
            sounds is not None
            and sounds.format != media.format
            and sounds.findings[0].sure == "sure"
        ):
            text = f"they sound like {sounds.format} (byte order): correct what sends them"
            findings.append(Finding("type", text, "likely"))
    facts = [each for each in found if each.content_type == essence and each.facts]
    longest_us = _longest_us(media, payloads, facts)
    return TypeGuess(str(media), media.kind, "", longest_us, tuple(findings))


def _by_header(content_type: str, found: Sequence[Payload], sound: Sequence[Payload]) -> TypeGuess:
    """A format whose payloads say themselves what they are."""
    broken = [each for each in found if each.content_type == content_type and not each.facts]
    if not sound:
        return TypeGuess(trouble=f"it holds {content_type} that cannot be read: {broken[0].wrong}")
    media = parse_media_type(content_type)
    facts = [each.facts for each in sound if each.facts is not None]
    text, written = content_type, content_type
    if media.kind == "audio":
        shape, share = most((f.rate, f.channels) for f in facts)
        codec = f" ({sound[0].codec})" if sound[0].codec else ""
        text = f"{content_type}{codec}, {shape[0]} Hz, {_counted(shape[1])}"
        if share == 1:
            written = f"{content_type};rate={shape[0]}"
    elif media.kind in ("image", "video"):
        (width, height), share = most((f.width, f.height) for f in facts)
        text = f"{content_type}, {width} x {height}" + ("" if share == 1 else " and others")
    findings = [Finding("type", text, "sure")]
    findings += [Finding("type", each, "sure") for each in sorted({s.note for s in sound} - {""})]
    if broken:
        text = f"{len(broken)} of {len(found)} records cannot be read ({shown(broken[0].wrong)})"
        findings.append(Finding("type", text, "sure"))
    longest_us = _longest_us(media, (), sound)
    return TypeGuess(written, media.kind, "", longest_us, tuple(findings))


def _counted(channels: int) -> str:
    return "1 channel" if channels == 1 else f"{channels} channels"


def _by_samples(payloads: Sequence[bytes], placed: Sequence[Placed], live: bool) -> TypeGuess:
    """Raw audio by its sound; or bytes that nobody can tell."""
    raw = guess_raw(_spread(payloads))
    if raw is None:
        return TypeGuess(trouble=_unknown(payloads[0]))
    if raw.format not in SAMPLE_BYTES:
        why = "it holds raw audio as big-endian floats, which no version reads"
        return TypeGuess(trouble=f"{why}; send F32LE or S16LE", findings=raw.findings)
    sample_bytes = SAMPLE_BYTES[raw.format]
    whole = [payload for payload in payloads if len(payload) % sample_bytes == 0]
    channels = raw.channels
    if any(len(payload) % (sample_bytes * channels) for payload in whole):
        channels = 1
    findings = list(raw.findings)
    if len(whole) < len(payloads):
        cut = len(payloads) - len(whole)
        text = f"{cut} of {len(payloads)} records are no whole number of samples: dead letters"
        findings.append(Finding("type", text, "sure"))
    frame_bytes = sample_bytes * channels
    held = placed or [Placed(0, "", 0, 0, payload) for payload in payloads]
    rate, about = guess_rate(held, frame_bytes, live)
    findings.append(about)
    longest_us = max(len(payload) for payload in payloads) // frame_bytes * 1_000_000 // rate
    return TypeGuess(_written(raw, rate, channels), "audio", "", longest_us, tuple(findings))


def _written(raw: RawGuess, rate: int, channels: int) -> str:
    if raw.format == "S16BE":
        return f"audio/L16;rate={rate};channels={channels}"
    return f"audio/x-raw;format={raw.format};rate={rate};channels={channels}"


def _spread(payloads: Sequence[bytes]) -> Sequence[bytes]:
    """At most _RAW_MAX of them, from all over."""
    step = max(1, len(payloads) // _RAW_MAX)
    return payloads[::step][:_RAW_MAX]


def _unknown(payload: bytes) -> str:
    if len(payload) > 5 and payload[0] == 0:
        schema = int.from_bytes(payload[1:5], "big")
        if 0 < schema < 1_000_000:
            return (
                f"it holds bytes in the framing of a schema registry (schema {schema}), which "
                "is not read; send the media itself as the value"
            )
    return (
        f"it holds bytes of no kind that is known (they begin with {payload[:8].hex(' ')}); if "
        "they are raw audio, write type: audio/x-raw;format=S16LE;rate=16000;channels=1"
    )


def _longest_us(media: MediaType, payloads: Sequence[bytes], found: Sequence[Payload]) -> int:
    """The longest record in microseconds; 1 for what has no length."""
    if media.format in SAMPLE_BYTES:
        frame_bytes = SAMPLE_BYTES[media.format] * media.channels
        return max(len(payload) for payload in payloads) // frame_bytes * 1_000_000 // media.rate
    facts = [each.facts for each in found if each.facts is not None]
    if media.kind == "video":
        return max((f.duration_us or 1 for f in facts), default=1)
    return max((f.samples * 1_000_000 // f.rate for f in facts if f.rate), default=1)
