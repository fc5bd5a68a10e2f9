"""Which output goes into a transaction: a contiguous prefix of each lane that ends at a cut."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.lane.record import LaneCut
from pipeline.slot.ledger import Batch, Ledger

LANES = (0, 1, 2)


def lane_cut(number: int) -> LaneCut:
    return LaneCut(number, {"mic": number}, {"mic": number})


class Model:
    """What a lane has, and what may be taken of it, said as simply as it can be."""

    def __init__(self) -> None:
        self.items: dict[int, list] = {lane: [] for lane in LANES}

    def takeable(self) -> tuple[dict[int, int], dict[int, list[str]]]:
        cuts, records = {}, {}
        for lane, items in self.items.items():
            best = 0
            for place, (kind, value, done) in enumerate(items, 1):
                if kind == "cut":
                    best, cuts[lane] = place, value
                elif not done[0]:
                    break
            if best:
                records[lane] = [v for kind, v, _ in items[:best] if kind == "entry"]
                self.items[lane] = items[best:]
        return cuts, records


@settings(deadline=None)
@given(st.data())
def test_output_is_taken_as_a_prefix_that_ends_at_a_cut_and_each_entry_once(data):
    ledger, model = Ledger(), Model()
    waiting: list = []
    numbers = dict.fromkeys(LANES, 0)
    names = iter(range(1_000))
    seen: list[str] = []
    for _ in range(data.draw(st.integers(0, 40))):
        step = data.draw(st.sampled_from(["open", "done", "cut", "complete", "take"]))
        lane = data.draw(st.sampled_from(LANES))
        if step in ("open", "done"):
            name = f"{lane}:{next(names)}"
            entry = ledger.add(lane, [name] if step == "done" else None)
            state = [step == "done"]
            model.items[lane].append(("entry", name, state))
            if step == "open":
                waiting.append((entry, name, state))
        elif step == "cut":
            numbers[lane] += 1
            ledger.cut(lane, lane_cut(numbers[lane]))
            model.items[lane].append(("cut", numbers[lane], [True]))
        elif step == "complete" and waiting:
            entry, name, state = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
            ledger.complete(entry, [name])
            state[0] = True
        elif step == "take":
            touched = ledger.touched
            batch = ledger.take()
            cuts, records = model.takeable()
            assert touched or not cuts
            assert not ledger.touched
            if not cuts:
                assert batch is None
                continue
            assert batch is not None
            assert {at: cut.number for at, cut in batch.cuts.items()} == cuts
            assert batch.records == [name for at in sorted(records) for name in records[at]]
            seen += batch.records
    assert len(seen) == len(set(seen))
    assert ledger.empty == (not any(model.items.values()))


def test_nothing_behind_the_newest_complete_cut_is_produced_with_it():
    ledger = Ledger()
    first = ledger.add(0)
    ledger.cut(0, lane_cut(1))
    second = ledger.add(0)
    ledger.complete(second, ["behind the cut"])
    assert ledger.take() is None  # a maximum instead of the prefix would take cut 1 here
    ledger.complete(first, ["a", "b"])
    assert ledger.take() == Batch({0: lane_cut(1)}, ["a", "b"])
    ledger.cut(0, lane_cut(2))
    assert ledger.take() == Batch({0: lane_cut(2)}, ["behind the cut"])
    assert ledger.empty


def test_a_lane_without_a_complete_cut_is_left_out_and_holds_up_no_other():
    ledger = Ledger()
    slow = ledger.add(1)
    ledger.cut(1, lane_cut(1))
    ledger.add(0, ["quick"])
    ledger.cut(0, lane_cut(1))
    assert ledger.take() == Batch({0: lane_cut(1)}, ["quick"])
    assert not ledger.empty
    ledger.complete(slow, ["slow"])
    assert ledger.touched
    assert ledger.take() == Batch({1: lane_cut(1)}, ["slow"])


def test_several_complete_cuts_of_a_lane_are_one_transaction_at_the_newest():
    ledger = Ledger()
    for number in (1, 2, 3):
        ledger.add(0, [f"r{number}"])
        ledger.cut(0, lane_cut(number))
    assert ledger.take() == Batch({0: lane_cut(3)}, ["r1", "r2", "r3"])
    assert ledger.take() is None
