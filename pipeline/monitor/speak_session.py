"""What one visitor of the page sends, as records of a stream of its own: told the time, no I/O."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from pipeline.connectors.files import FileRecord, Piece
from pipeline.connectors.sound_cutter import SoundCutter, audio_form
from pipeline.monitor.speak_inputs import Spoken
from pipeline.spec.media_type import RATE_MAX

SESSION_US_MAX = 600_000_000
IDLE_US_MAX = 60_000_000  # a page that is closed says so, but for a machine that is switched off
REQUEST_BYTES_MAX = 1 << 20
SECOND_BYTES_MAX = 512 << 10  # sound at 48 kHz takes 96 kB, two pictures of 640 x 480 about 120 kB
BURST_BYTES_MAX = 4 << 20  # what a browser held back while its network stood still
TEXT_BYTES_MAX = 4 << 10
AHEAD_US_MAX = 2_000_000
BEHIND_US_MAX = 60_000_000
CHUNK_US = 100_000  # of sound: it is what a word waits for before it is sent
PICTURE_US = 500_000  # the page takes two a second; each is shown until the next
RATE_MIN = 3_000  # of a browser's sound, in Hz


class Now(NamedTuple):
    """The wall clock, and one that never steps; both in microseconds."""

    wall_us: int
    monotonic_us: int


class Refusal(Exception):
    """An HTTP status and words for the visitor; ``retry_s``: when to try again, 0 for never."""

    def __init__(self, status: int, words: str, retry_s: int = 0) -> None:
        super().__init__(words)
        self.status = status
        self.retry_s = retry_s


class Sent(NamedTuple):
    """One request: bytes for an input. ``at_us``: when they begin, by the browser's clock.

    Sound is 16-bit little-endian mono at ``rate``, a picture is as the input has it, text UTF-8.
    """

    input: str
    at_us: int
    rate: int
    body: bytes


class Session:
    """One visitor, one stream, for a bounded time and at a bounded rate.

    Invariant: records of an input do not run back in time, and sound that comes twice, since a
    browser sent it again, is taken once.

    Event time is the browser's monotonic clock, laid on our wall clock once, when the session
    begins. Samples are placed by their number and not by when they arrive: so a request that is
    late shifts nothing, what a network held back lies where it was said, and a gap stays a gap.
    The browser's wall clock is not asked (it may be wrong by hours), and ours only once: it may be
    set while somebody speaks.
    """

    def __init__(
        self, stream: str, inputs: Mapping[str, Spoken], now: Now, browser_us: int
    ) -> None:
        self.stream = stream
        self.offset_us = now.wall_us - browser_us
        self._inputs = inputs
        self._began_us = self._heard_us = self._filled_us = now.monotonic_us
        self._wall_us = now.wall_us
        self._left_bytes: float = BURST_BYTES_MAX
        self._sounds: dict[str, _Sound] = {}
        self._ends_us: dict[str, int] = {}
        self._sequences: dict[str, int] = {}

    def is_over(self, now: Now) -> bool:
        heard_us, began_us = now.monotonic_us - self._heard_us, now.monotonic_us - self._began_us
        return heard_us >= IDLE_US_MAX or began_us >= SESSION_US_MAX

    def take(self, sent: Sent, now: Now) -> list[tuple[str, FileRecord]]:
        """The records that it completes, with their inputs; raises Refusal and takes nothing."""
        spoken = self._demand(sent)
        size = len(sent.body)
        self._check_rate(size, now)
        at_us = sent.at_us + self.offset_us
        passed_us = now.monotonic_us - self._began_us  # by a clock that nobody sets
        self._check_time(at_us, self._wall_us + passed_us)
        self._left_bytes -= size
        self._heard_us = now.monotonic_us
        if spoken.kind == "audio":
            pieces = self._sound(spoken, at_us, sent)
        else:
            pieces = iter(self._whole(spoken, at_us, sent.body))
        return [self._record(spoken, piece) for piece in pieces]

    def end(self) -> list[tuple[str, FileRecord]]:
        """What is held of the sound."""
        return [
            self._record(self._inputs[name], piece)
            for name, sound in self._sounds.items()
            for piece in sound.end()
        ]

    # -- what is asked of a request ---------------------------------------------------------------

    def _demand(self, sent: Sent) -> Spoken:
        spoken = self._inputs.get(sent.input)
        if spoken is None:
            known = ", ".join(self._inputs)
            raise Refusal(400, f"input = {sent.input[:40]}: no such input; there are: {known}")
        if spoken.why_not is not None:
            raise Refusal(400, f"input {sent.input} cannot be spoken into: {spoken.why_not}")
        if not sent.body:
            raise Refusal(400, f"nothing was sent for {sent.input}")
        if spoken.kind == "audio":
            if not RATE_MIN <= sent.rate <= RATE_MAX:
                raise Refusal(400, f"rate = {sent.rate}: not from {RATE_MIN} to {RATE_MAX} Hz")
            if len(sent.body) % 2:
                raise Refusal(400, "sound is 16-bit samples: an even number of bytes")
        if spoken.kind == "text":
            if len(sent.body) > TEXT_BYTES_MAX:
                raise Refusal(413, f"a line may have {TEXT_BYTES_MAX} bytes at most")
            if not _is_text(sent.body):
                raise Refusal(400, "a line of text is UTF-8 without a zero in it")
        return spoken

    def _check_rate(self, size: int, now: Now) -> None:
        since_us, self._filled_us = now.monotonic_us - self._filled_us, now.monotonic_us
        earned = since_us * SECOND_BYTES_MAX / 1_000_000
        self._left_bytes = min(BURST_BYTES_MAX, self._left_bytes + earned)
        if size > self._left_bytes:
            words = f"more than {SECOND_BYTES_MAX >> 10} KiB a second are not taken from a visitor"
            raise Refusal(429, words, retry_s=1)

    @staticmethod
    def _check_time(at_us: int, now_us: int) -> None:
        if at_us > now_us + AHEAD_US_MAX:
            raise Refusal(400, f"at_us lies {(at_us - now_us) / 1e6:.1f} s in the future")
        if at_us < now_us - BEHIND_US_MAX:
            raise Refusal(400, f"at_us lies {(now_us - at_us) / 1e6:.1f} s back: too late for all")

    # -- records ----------------------------------------------------------------------------------

    def _sound(self, spoken: Spoken, at_us: int, sent: Sent) -> Iterator[Piece]:
        sound = self._sounds.get(sent.input)
        if sound is None:
            assert spoken.target.content_type is not None
            sound = self._sounds[sent.input] = _Sound(spoken.target.content_type)
        samples = np.frombuffer(sent.body, "<i2").astype(np.float32)[:, None] / 32768.0
        return sound.take(at_us, samples, sent.rate)

    def _whole(self, spoken: Spoken, at_us: int, body: bytes) -> list[Piece]:
        """A picture or a line; nothing where it has come before."""
        end_us = at_us + (PICTURE_US if spoken.kind == "image" else 1)
        if at_us <= self._ends_us.get(spoken.name, at_us - 1):
            return []
        self._ends_us[spoken.name] = at_us
        assert spoken.target.content_type is not None
        stated_us = end_us - at_us if spoken.kind == "image" else None
        return [Piece(at_us, end_us, at_us, spoken.target.content_type, body, stated_us)]

    def _record(self, spoken: Spoken, piece: Piece) -> tuple[str, FileRecord]:
        """``time_offset`` is about the sender that the file was written for: it is taken out."""
        number = self._sequences.get(spoken.name, 0)
        self._sequences[spoken.name] = number + 1
        record = FileRecord(
            due_us=piece.due_us,
            ts_us=piece.at_us - spoken.time_offset_us,
            end_us=piece.end_us - spoken.time_offset_us,
            target=spoken.target,
            stream=self.stream,
            sequence=number,
            content_type=piece.content_type,
            payload=piece.payload,
            mediadur_us=piece.mediadur_us,
            source="page",
        )
        return spoken.name, record


class _Sound:
    """Sound of one input: runs without a gap, each cut by a ``SoundCutter``.

    Times of one browser are counted in samples, so they differ from those expected by a rounding
    alone; what differs by half a sample or more is a gap, or sound that comes again.
    """

    def __init__(self, content_type: str) -> None:
        self._content_type = content_type
        self._rate = 0
        self._cutter: SoundCutter | None = None
        self._began_us, self._count = 0, 0
        self._end_us: int | None = None  # of the newest run so far

    def take(self, at_us: int, samples: np.ndarray, rate: int) -> Iterator[Piece]:
        """``samples``: float32 of shape (n, 1) that begin at ``at_us``."""
        gap = 0 if self._end_us is None else round((at_us - self._end_us) * rate / 1_000_000)
        if gap < 0:  # they come again
            samples, at_us = samples[-gap:], at_us - gap * 1_000_000 // rate
            if not len(samples):
                return
        if self._cutter is None or rate != self._rate or gap > 0:
            yield from self.end()
            self._begin(at_us, rate)
        assert self._cutter is not None
        self._count += len(samples)
        self._end_us = self._began_us + self._count * 1_000_000 // rate
        yield from self._cutter.feed(samples)

    def end(self) -> Iterator[Piece]:
        cutter, self._cutter = self._cutter, None
        if cutter is not None:
            yield from cutter.end()

    def _begin(self, at_us: int, rate: int) -> None:
        form = audio_form(self._content_type, rate, 1)
        self._rate = rate
        self._cutter = SoundCutter(rate, form, CHUNK_US)
        self._began_us = at_us if self._end_us is None else max(at_us, self._end_us)
        self._count = 0
        self._cutter.begin(self._began_us)


def _is_text(body: bytes) -> bool:
    try:
        return "\0" not in codecs.decode(body, "utf-8")
    except UnicodeDecodeError:
        return False
