"""A call desk that is made up: callers who speak (eSpeak NG, synthetic) and what an agent types.

What is told apart: `risk` (somebody presses the caller for money, codes or cards, or the caller is
about to leave) and `fine`. In a quarter of the risky windows only the agent's line tells it, in
some only the speech. The told calls have voices and wordings that were not learned. All calls are
fictional.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import soxr
from scenes import RATE, Rng, Samples, Scene, lay, limited, noise

from pipeline.encoders.models.speech_synthesis import espeak

WINDOW_S = 5
SIZES = {"learn": (8, 6), "told": (6, 5)}  # streams, windows of each
SEEDS = {"learn": 1, "told": 2}
VOICES = {
    "learn": ("en-us", "en-us+m1", "en-us+f1", "en+m7", "en-us+f2", "en+f5", "en-us+m2", "en+m4"),
    "told": ("en", "en-us+f4", "en-us+m3", "en+f3", "en-us+m5", "en+f2"),
}


class Lines(NamedTuple):
    """Each fits into a window when it is spoken."""

    risk: Sequence[str]
    fine: Sequence[str]
    typed_risk: Sequence[str]
    typed_fine: Sequence[str]


LINES = {
    "learn": Lines(
        risk=(
            "he told me to pay him in gift cards",
            "a man from the bank wants my card number",
            "they said my account is locked until I send money",
            "I read him the code that came by text message",
            "she asked me to install a program on my computer",
            "if I do not pay today they will arrest me",
            "I have to send the money before five o'clock",
            "he said that I must not tell anybody about it",
            "I want to cancel my contract and leave",
            "this is the third time, I am closing my account",
            "your competitor is cheaper and I will switch",
            "I will talk to my lawyer about this company",
            "give me my money back or I am gone",
            "someone I met online needs money for a hospital",
            "he wants remote access to see my screen",
            "they asked for the three digits on the back",
        ),
        fine=(
            "I would like to change my address please",
            "can you tell me when the parcel arrives",
            "my new card came this morning, thank you",
            "how late is the branch open on Saturday",
            "I forgot which day the invoice is due",
            "please send me a copy of the receipt",
            "the gift for my sister has arrived",
            "I would like to order a second key",
            "could you spell your name for me",
            "yes, that is the right telephone number",
            "the new program on television was nice",
            "I have a question about the opening hours",
            "thank you, you were very helpful today",
            "I want to thank my adviser at the bank",
            "the technician came on time and it works",
            "the weather is lovely, we will be outside",
        ),
        typed_risk=(
            "caller is told to buy gift cards",
            "somebody asks for card number and code",
            "customer threatens to leave us",
            "remote access requested by a stranger",
            "caller is under pressure to transfer money",
        ),
        typed_fine=(
            "change of address",
            "asked about delivery",
            "copy of receipt sent",
            "opening hours given",
            "customer is satisfied",
        ),
    ),
    "told": Lines(
        risk=(
            "they want vouchers instead of a bank transfer",
            "someone called and asked for my password",
            "he needs the number on my credit card",
            "I should wire the savings to a safe account",
            "the police said that I must keep it secret",
            "he told me to let him control my laptop",
            "I am leaving you for another provider",
            "close everything, I am done with you",
            "my attorney will write to you",
            "they threatened me, I must pay tonight",
        ),
        fine=(
            "I moved and need a new address on file",
            "where is the package that I ordered",
            "is the office open on Monday",
            "could I have the bill by email",
            "my card works well, no complaint",
            "what is the number of your service line",
            "the engineer repaired it yesterday",
            "good morning, I hope you are well",
            "please remind me of my appointment",
            "that was all, have a nice day",
        ),
        typed_risk=(
            "vouchers demanded from caller",
            "caller gave away a password",
            "wants to end the contract",
            "stranger controls her laptop",
        ),
        typed_fine=(
            "new address noted",
            "bill sent by email",
            "parcel is on its way",
            "small talk",
        ),
    ),
}


class Caller(NamedTuple):
    """A voice of eSpeak NG, words a minute, its pitch (0 to 100), and the noise of the line."""

    voice: str
    pace: int
    pitch: int
    hiss: float


def scenes(part: str, streams: int, windows: int) -> Iterator[Scene]:
    rng = np.random.default_rng(SEEDS[part])
    for number in range(streams):
        voice = VOICES[part][number % len(VOICES[part])]
        pace, pitch = int(rng.integers(150, 185)), int(rng.integers(35, 65))
        caller = Caller(voice, pace, pitch, rng.uniform(0.002, 0.01))
        labels = [str(rng.choice(("risk", "fine"))) for _ in range(windows)]
        said, typed = zip(*(_pair(rng, LINES[part], label) for label in labels), strict=True)
        sound = limited(np.concatenate([_sound(rng, caller, text) for text in said]))
        yield Scene(f"{part}-call-{number + 1}", WINDOW_S, labels, sound, (), typed, said)


def _pair(rng: Rng, lines: Lines, label: str) -> tuple[str, str]:
    """What is said and what is typed in a window; of a risk at least one of them tells."""
    heard = noted = False
    if label == "risk":
        chance = rng.random()
        heard, noted = chance < 0.75, chance < 0.4 or chance >= 0.75
    return (
        str(rng.choice(lines.risk if heard else lines.fine)),
        str(rng.choice(lines.typed_risk if noted else lines.typed_fine)),
    )


def _sound(rng: Rng, caller: Caller, text: str) -> Samples:
    """The line is spoken from a drawn moment of the first half second on."""
    speaker = espeak()
    spoken = speaker.say(text, caller.voice, caller.pace, caller.pitch)
    spoken = soxr.resample(spoken, speaker.rate, RATE)
    found = noise(rng, WINDOW_S, caller.hiss)
    at_s = rng.uniform(0.1, 0.4)
    if len(spoken) > (WINDOW_S - at_s) * RATE:
        raise ValueError(f"{text!r} by {caller.voice} does not fit into {WINDOW_S} s")
    lay(found, 0.5 * spoken.astype(np.float32), at_s)
    return found
