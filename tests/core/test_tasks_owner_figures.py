"""An owner whose actors end: what they counted is added up, and nothing is counted twice."""

from __future__ import annotations

from pipeline.lane import LaneCut
from pipeline.slot.ports import OutRecord
from pipeline.tasks import handed_over
from pipeline.tasks.figures import Figures
from pipeline.tasks.fusion_runner import FusionState
from pipeline.tasks.handed_over import HandedOver
from pipeline.tasks.ingest_view import IngestView
from pipeline.tasks.messages import Counts, Cut, Opened, Produced, Settled
from pipeline.tasks.owner_figures import OwnerFigures
from pipeline.tasks.totals import Totals


def opened(window: int, lane: int = 0) -> Opened:
    return Opened(lane, window, "s", 0, 1, ("mic",), (), {}, ("a",))


def settled(window: int, failure: str | None = None, letters: int = 0) -> Settled:
    letter = OutRecord("out.dead", 0, None, b"", [("motet-reason", b"undecodable")])
    return Settled(0, window, "a", None, failure, (), (letter,) * letters)


def cut(number: int, records: int, lane: int = 0) -> Cut:
    positions = {"mic": records}
    counts = Counts({"mic": records}, {"mic": 8 * records}, 0, 0, {}, {})
    return Cut(lane, LaneCut(number, positions, positions), counts)


def test_what_was_handed_over_is_held_by_cut_until_it_is_seen():
    handed = HandedOver("out.dead")
    why = [("motet-reason", b"future")]
    dead, late = (OutRecord(f"out.{name}", 0, None, b"", why) for name in ("dead", "late"))
    handed.note([opened(1), opened(2), Produced(0, dead), Produced(0, late), cut(5, 10)])
    handed.note([opened(3), settled(1, "no", 2), cut(6, 20), settled(3), opened(4)])
    handed.note([settled(4, "no"), settled(3, "no")])
    five, six = handed.held()[0]
    letters = {"future": 1, "undecodable": 2, "encode-failed": 1}
    assert five == (5, Totals({"mic": 10}, {"mic": 80}, windows=2, dead_letters=letters))
    failed = {"encode-failed": 1}
    assert six == (6, Totals({"mic": 20}, {"mic": 160}, windows=1, dead_letters=failed))
    handed.forget({0: 5, 9: 1})
    assert handed.held() == {0: [six]}
    handed.note([cut(7, 1)])
    seven = Totals({"mic": 1}, {"mic": 8}, windows=1, dead_letters=failed)
    assert handed.held()[0][1] == (7, seven)


def ingest_view(batches: int) -> IngestView:
    figures = Figures()
    figures.observe("motet_stage_batch_size", 4, "a", times=batches)
    figures.gauge("motet_paused_partitions", 1)
    return IngestView(figures, (), 0)


def fusion_state(records: int, cuts: dict[int, int]) -> FusionState:
    figures = Figures()
    figures.count("motet_commits_total", records, "committed")
    return FusionState(1, True, Totals({"mic": records}, windows=records), cuts, figures)


def counted(owner: OwnerFigures) -> tuple[float, float, float, float]:
    figures = owner.figures
    batches = figures.histograms["motet_stage_batch_size", ("a",)].count
    return (
        figures.value("motet_records_total", "mic"),
        figures.value("motet_commits_total", "committed"),
        batches,
        figures.value("motet_paused_partitions"),
    )


def test_an_owner_counts_what_ended_once_and_what_the_log_proves_was_committed():
    owner = OwnerFigures()
    owner.told(ingest_view(1), fusion_state(10, {0: 3}))
    owner.told(ingest_view(2), fusion_state(30, {0: 4, 2: 8}))
    assert owner.seen == {0: 4, 2: 8}
    assert counted(owner) == (30, 30, 2, 1)
    handed = {
        0: [(n, Totals({"mic": 1000 * n})) for n in (4, 5, 6, 7)],
        2: [(9, Totals({"mic": 1}))],
    }
    owner.ended(handed)
    owner.ended()  # and killed, and killed again while it is started anew
    assert counted(owner) == (30, 30, 2, 0)
    owner.recovered({0: 6, 2: 8})
    assert owner.totals.records == {"mic": 30 + 5000 + 6000}
    owner.recovered({0: 6, 2: 8})
    assert owner.totals.records == {"mic": 11_030}
    owner.told(ingest_view(1), fusion_state(5, {0: 7}))
    assert counted(owner) == (11_035, 35, 3, 1)
    assert owner.totals.windows == 35
    assert owner.seen == {0: 7, 2: 8}


def test_the_last_words_of_a_fusion_half_whose_other_half_died():
    owner = OwnerFigures()
    owner.told(ingest_view(2), fusion_state(10, {0: 3}))
    owner.told(None, fusion_state(14, {0: 5}))
    owner.ended()
    owner.recovered({0: 5})
    assert counted(owner) == (14, 14, 2, 0)


def test_what_is_handed_over_is_bounded_though_nobody_asks(monkeypatch):
    monkeypatch.setattr(handed_over, "CUTS_MAX", 3)
    handed = HandedOver("out.dead")
    for number in range(9):
        handed.note([opened(number), cut(number, 1)])
    assert [number for number, _ in handed.held()[0]] == [7, 8]
