"""Each safeguard of the lane is taken away in turn, and the property that needs it must fail.

A mutant is the real source with a few lines exchanged. It is put through fixed examples, the
same in every run, until a check fails; a line that is no longer there fails the test too.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import lane_checks
import pytest
from lane_checks import Check, Subject
from lane_histories import examples

from pipeline.lane import Waiting

EXAMPLES = 1000


class Edit(NamedTuple):
    old: str
    new: str


class Mutant(NamedTuple):
    name: str
    edits: tuple[Edit, ...]
    fails: tuple[Check, ...]


def mutant(name: str, old: str, new: str, *fails: Check) -> Mutant:
    return Mutant(name, (Edit(old, new),), fails)


def spoilt(edits: tuple[Edit, ...]) -> Subject:
    """The lane and the merge, built from sources in which each ``old`` stands exactly once."""
    sources = {name: source_of(f"pipeline.lane.{name}") for name in ("kept", "lane", "merge")}
    for edit in edits:
        assert sum(source.count(edit.old) for source in sources.values()) == 1, edit.old
        sources = {name: text.replace(edit.old, edit.new) for name, text in sources.items()}
    built = {name: executed(f"spoilt_{name}", source) for name, source in sources.items()}
    for name in ("KeptOffsets", "KeptRecords"):
        built["lane"][name] = built["kept"][name]
    built["merge"]["Waiting"] = Waiting
    return Subject(built["lane"]["Lane"], built["merge"]["Merge"])


def source_of(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.loader is not None
    source = spec.loader.get_source(module)  # type: ignore[attr-defined]
    return str(source)


def executed(name: str, source: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": name}
    exec(compile(source, f"<{name}>", "exec", dont_inherit=True), names)
    return names


a_rules = lane_checks.equals_the_oracle_through_crashes
b_once = lane_checks.emits_no_window_twice
c_interleavings = lane_checks.interleavings_agree_within_hold
d_fetches = lane_checks.fetches_do_not_show
e_fates = lane_checks.gives_one_fate_to_each_record_and_window
f_never_falls = lane_checks.floor_and_clocks_never_fall
g_reads = lane_checks.two_full_reads_agree
h_ahead = lane_checks.clock_ahead_moves_only_itself
catch_up = lane_checks.catch_up_gives_what_live_gave

MUTANTS = [
    # -- clocks and the floor
    Mutant(
        "the floor follows the newest record, down too",
        (
            Edit("        if floor > self._floor:\n", "        if True:\n"),
            Edit("        if floor_us <= self._floor:\n            return\n", ""),
        ),
        (a_rules, f_never_falls),
    ),
    mutant(
        "the floor rises by the record's end alone",
        "floor = min(record.end_us, record.append_us) - self._hold",
        "floor = record.end_us - self._hold",
        a_rules,
        h_ahead,
    ),
    mutant(
        "the floor rises by the Kafka timestamp alone",
        "floor = min(record.end_us, record.append_us) - self._hold",
        "floor = record.append_us - self._hold",
        a_rules,
    ),
    mutant(
        "A is without idle",
        "self._hold = spec.hold_us",
        "self._hold = spec.hold_us - spec.idle_us",
        a_rules,
        c_interleavings,
    ),
    mutant(
        "only gating inputs raise the floor",
        "        if floor > self._floor:\n",
        "        if floor > self._floor and gate >= 0:\n",
        a_rules,
    ),
    mutant(
        "unsound records raise the floor",
        "        if record.stream is None:\n            return _REPLAYED\n",
        "        if record.stream is None:\n"
        "            self._raise_floor(record.append_us - self._hold, [])\n"
        "            return _REPLAYED\n",
        a_rules,
    ),
    mutant(
        "clocks do not heed the floor",
        "bar = own if own > self._floor else self._floor",
        "bar = own",
        a_rules,
        b_once,
        e_fates,
    ),
    mutant(
        "all streams share one clock",
        "stream.raw[gate] = record.end_us - self._bound[index]",
        "for stream_ in self._streams.values(): "
        "stream_.raw[gate] = max(stream_.raw[gate], record.end_us - self._bound[index])",
        a_rules,
        h_ahead,
    ),
    mutant(
        "a clock is its newest end, not its greatest",
        "        if gate >= 0 and record.end_us - self._bound[index] > stream.raw[gate]:\n",
        "        if gate >= 0:\n",
        a_rules,
        f_never_falls,
    ),
    mutant(
        "every input gates",
        "gating = [rule for rule in spec.inputs if rule.gating]",
        "gating = list(spec.inputs)",
        a_rules,
    ),
    # -- closing and lateness
    mutant(
        "a window closes by the fastest input",
        "closed_to = min(stream.raw)",
        "closed_to = max(stream.raw)",
        a_rules,
        c_interleavings,
        e_fates,
    ),
    Mutant(
        "a window closes after its end, not at it",
        (
            Edit(
                "k = (closed_to - self._size) // self._hop",
                "k = (closed_to - self._size - 1) // self._hop",
            ),
            Edit(
                "k = (floor_us - self._size) // self._hop",
                "k = (floor_us - self._size - 1) // self._hop",
            ),
        ),
        (a_rules,),
    ),
    mutant(
        "lateness is judged after the record is applied",
        "own = stream.raw[gate] if gate >= 0 else min(stream.raw)",
        "own = (max(stream.raw[gate], record.end_us - self._bound[index])"
        " if gate >= 0 else min(stream.raw))",
        a_rules,
    ),
    mutant(
        "lateness is judged after the floor has risen",
        "        bar = own if own > self._floor else self._floor\n",
        "        bar = max(own, self._floor, min(record.end_us, record.append_us) - self._hold)\n",
        a_rules,
    ),
    mutant(
        "what does not gate is judged by its own clock alone",
        "own = stream.raw[gate] if gate >= 0 else min(stream.raw)",
        "own = stream.raw[gate] if gate >= 0 else _NEVER",
        a_rules,
        b_once,
    ),
    mutant(
        "late records open windows",
        "opened = max(first, missed + 1)",
        "opened = first",
        a_rules,
        b_once,
        e_fates,
    ),
    mutant(
        "the bar decides nothing about content",
        "if record.ts_us < high_us and record.bar_us < window_end_us",
        "if record.ts_us < high_us",
        a_rules,
        c_interleavings,
        e_fates,
    ),
    mutant(
        "context opens windows",
        "first = (record.ts_us - self._size) // hop + 1",
        "first = (record.ts_us - self._spec.after_us - self._size) // hop + 1",
        a_rules,
    ),
    mutant(
        "windows hold their end",
        "last = (record.end_us - 1) // hop",
        "last = record.end_us // hop",
        a_rules,
        e_fates,
    ),
    mutant(
        "content stands in the order of the ends",
        "            found.sort(key=_offset)\n",
        "            found.sort(key=lambda record: record.end_us)\n",
        a_rules,
    ),
    # -- what is kept
    mutant(
        "context is dropped with its window",
        "self._drop(stream, (k + 1) * self._hop - self._spec.before_us)",
        "self._drop(stream, (k + 1) * self._hop)",
        a_rules,
        c_interleavings,
    ),
    mutant(
        "what comes too late is kept until something closes",
        "            or record.end_us < next_us - self._size - self._spec.before_us"
        "  # too late to be kept\n",
        "",
        a_rules,
    ),
    mutant(
        "a stream that the floor has passed waits for its own clock",
        "            or self._floor >= next_us\n",
        "",
        a_rules,
    ),
    mutant(
        "a stream is forgotten before its clocks are the floor",
        "        if stream.wake is None:\n            self._rest(stream)\n",
        "        if not stream.order:\n            self._streams.pop(stream.name, None)\n",
        a_rules,
        f_never_falls,
    ),
    mutant(
        "dropped records are still counted",
        "                    self.kept_bytes -= record.size_bytes\n",
        "                    pass\n",
        a_rules,
    ),
    # -- silence, force, the end
    mutant(
        "silence raises the floor above the largest open end",
        "self._raise_floor(min(floor_us, limit), closed)",
        "self._raise_floor(limit if floor_us == 1 << 62 else floor_us, closed)",
        a_rules,
    ),
    mutant(
        "silence counts from the largest open end",
        "return self._rise(self._floor + elapsed_us)",
        "return self._rise(1 << 62)",
        a_rules,
    ),
    mutant(
        "force closes the newest windows first",
        "self._raise_floor(self._open.least() * self._hop + self._size, closed)",
        "self._raise_floor(self._open.greatest() * self._hop + self._size, closed)",
        a_rules,
    ),
    mutant(
        "force closes one window's end and no more",
        "        while self.kept_bytes > self._spec.open_bytes and self._open.total:\n",
        "        if self.kept_bytes > self._spec.open_bytes and self._open.total:\n",
        a_rules,
    ),
    # -- the cut and recovery
    mutant(
        "reading goes on at the position",
        "froms[name] = self.positions[name] if least is None else least",
        "froms[name] = self.positions[name]",
        a_rules,
        e_fates,
    ),
    mutant(
        "recovery begins at the position",
        "self.positions = dict(start.froms)",
        "self.positions = dict(start.positions)",
        a_rules,
        e_fates,
    ),
    mutant(
        "recovery forgets the floor",
        "self._floor = _NEVER if start.floor_us is None else start.floor_us",
        "self._floor = _NEVER",
        a_rules,
        b_once,
        f_never_falls,
    ),
    mutant(
        "recovery forgets the newest window emitted",
        "self._top = _NEVER if start.top_us is None else start.top_us",
        "self._top = _NEVER",
        a_rules,
        b_once,
    ),
    mutant(
        "a replay emits again",
        "        if replaying:\n            return _REPLAYED\n",
        "",
        a_rules,
        b_once,
    ),
    mutant(
        "a replay is over with the first input that has caught up",
        "            self._behind.discard(input)\n",
        "            self._behind.clear()\n",
        a_rules,
    ),
    mutant(
        "the record that ends a replay counts as new",
        "        replaying = bool(self._behind)\n"
        "        self._advance(record.input, record.offset, record.offset + 1)\n",
        "        self._advance(record.input, record.offset, record.offset + 1)\n"
        "        replaying = bool(self._behind)\n",
        a_rules,
    ),
    mutant(
        "a replay is forced",
        "        if replaying:\n            return _REPLAYED\n",
        "        if self.kept_bytes > self._spec.open_bytes:\n"
        "            self._force(closed)\n"
        "        if replaying:\n            return _REPLAYED\n",
        a_rules,
    ),
    # -- the order
    mutant(
        "an input that is behind is not waited for",
        "        if head.position < head.end:\n            return False\n",
        "",
        d_fetches,
        g_reads,
    ),
    mutant(
        "an unknown end counts as caught up",
        "        if head.end is None:\n            return True\n",
        "        if head.end is None:\n            return None\n",
        d_fetches,
        g_reads,
    ),
    mutant(
        "the order is by end alone",
        "                if record.append_us < key:\n                    key = record.append_us\n",
        "",
        d_fetches,
    ),
    mutant(
        "what does not gate is ordered by its end",
        "key = record.end_us if head.gating else record.ts_us",
        "key = record.end_us",
        d_fetches,
    ),
    mutant(
        "ties go by name alone",
        "key=lambda head: (head.gating, head.name)",
        "key=lambda head: head.name",
        d_fetches,
    ),
    mutant(
        "unsound records go by their append time",
        "                key = _AT_ONCE\n",
        "                key = record.append_us\n",
        d_fetches,
    ),
]

CASES = [
    pytest.param(one, check, id=f"{one.name}-{check.__name__}")
    for one in MUTANTS
    for check in one.fails
]


@pytest.mark.parametrize(("one", "check"), CASES)
def test_without_the_safeguard_the_property_fails(
    one: Mutant, check: Check, record_property: Callable[[str, object], None]
) -> None:
    subject = spoilt(one.edits)
    for number, draw in enumerate(examples(EXAMPLES)):
        try:
            check(subject, draw)
        except AssertionError:
            record_property("mutant", one.name)
            record_property("found", f"example {number}: {check.__name__.replace('_', ' ')}")
            return
    pytest.fail(f"{EXAMPLES} examples did not notice that {one.name}")


@pytest.mark.parametrize("check", lane_checks.CHECKS)
def test_with_all_safeguards_the_same_examples_pass(check: Check) -> None:
    subject = spoilt(())
    for draw in examples(100):
        check(subject, draw)
