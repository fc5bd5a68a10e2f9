"""What only several topics together say: whether they can meet in one window."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.media.probe.guess import TopicGuess
from pipeline.media.probe.sample import shown

_APART_US = 10_000_000


def notes_on(guesses: Sequence[TopicGuess]) -> list[str]:
    """Lines for the user, each with its remedy; ``guesses`` of the inputs that a file can have."""
    usable = [guess for guess in guesses if not guess.trouble]
    return [*_partitions(usable), *_streams(usable), *_times(usable)]


def _partitions(guesses: Sequence[TopicGuess]) -> list[str]:
    counts = {guess.topic: guess.partitions for guess in guesses}
    if len(set(counts.values())) < 2:
        return []
    listed = ", ".join(f"{topic} has {count}" for topic, count in counts.items())
    return [
        f"the topics differ in their number of partitions ({listed}): a run refuses them, since "
        "a stream would fall apart; create the smaller ones anew with the largest number"
    ]


def _streams(guesses: Sequence[TopicGuess]) -> list[str]:
    """Topics whose streams are in none of the others: nothing of theirs will be fused."""
    if len(guesses) < 2:
        return []
    notes = []
    for guess in guesses:
        others = frozenset().union(*(each.streams for each in guesses if each is not guess))
        if guess.streams and others and not guess.streams & others:
            mine, theirs = sorted(guess.streams)[0], sorted(others)[0]
            notes.append(
                f"no stream of {guess.topic} (such as '{shown(mine, 30)}') was seen in another "
                f"topic (such as '{shown(theirs, 30)}'), so they meet in no window; give one "
                "device one stream id in all topics"
            )
    return notes[:1] if len(guesses) == 2 else notes  # of two, each says the same of the other


def _times(guesses: Sequence[TopicGuess]) -> list[str]:
    """Topics whose times do not meet: what lies behind the others would be late."""
    timed = [guess for guess in guesses if guess.last_us]
    notes = []
    for guess in timed:
        others = [each for each in timed if each is not guess]
        if not others:
            continue
        first_us, last_us = min(o.first_us for o in others), max(o.last_us for o in others)
        behind_us = first_us - guess.last_us
        ahead_us = guess.first_us - last_us
        apart_us = max(behind_us, ahead_us)
        if apart_us > _APART_US:
            where = "before" if behind_us > 0 else "after"
            notes.append(
                f"the event times of {guess.topic} lie {apart_us / 1e6:.0f} s {where} those of "
                "the other topics, so they meet in no window; check where its time comes from, "
                "or shift it with time_offset"
            )
    return notes[:1] if len(timed) == 2 else notes
