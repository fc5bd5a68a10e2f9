"""Which windows are shown to who labels: the least sure, or those that are spread the widest."""

from __future__ import annotations

from collections import Counter

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st

from pipeline.teaching.choosing import farthest_first, least_sure, margin
from pipeline.teaching.pool import POINT_MAX, Key, Pool, Projector, seen_of

shares = st.dictionaries(st.text(max_size=3), st.floats(0, 1), min_size=1, max_size=5)
points = st.integers(1, 12).flatmap(
    lambda count: st.lists(
        st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=count, max_size=count
    )
)


def result(stream: str, second: int, model: str = "m", **output: object) -> bytes:
    window = {"start_us": second * 1_000_000, "end_us": (second + 1) * 1_000_000}
    told = {"stream": stream, "window": window, "present": ["mic"], "output": output}
    return orjson.dumps({**told, "model": model})


def seen(stream: str, second: int, model: str = "m", **output: object):
    found = seen_of(result(stream, second, model, **output), Projector())
    assert found is not None
    return found


@given(shares)
def test_the_margin_is_that_of_the_two_likeliest(scores):
    found = margin(scores)
    assert 0 <= found <= 1
    best = max(scores, key=lambda label: scores[label])
    others = [share for label, share in scores.items() if label != best]
    assert found == scores[best] - max(others, default=0.0)


@given(st.lists(st.floats(0, 1), max_size=20), st.integers(0, 25))
def test_the_least_sure_come_first(margins, count):
    chosen = least_sure(margins, count)
    assert len(chosen) == min(count, len(margins))
    assert [margins[at] for at in chosen] == sorted(margins)[:count]


@given(points, st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), max_size=4), st.data())
def test_each_next_one_is_of_the_stream_asked_least_and_the_farthest_in_it(places, known, data):
    names = st.sampled_from("abc")
    streams = data.draw(st.lists(names, min_size=len(places), max_size=len(places)))
    asked = data.draw(st.dictionaries(names, st.integers(0, 3)))
    count = data.draw(st.integers(0, 14))
    given_points = np.array(places, np.float32)
    given_known = np.array(known, np.float32).reshape(-1, 2)
    chosen = farthest_first(given_points, streams, given_known, asked, count)
    assert len(chosen) == len(set(chosen)) == min(count, len(places))
    had = Counter(asked)
    there = [tuple(place) for place in known]
    for number, at in enumerate(chosen):
        left = [one for one in range(len(places)) if one not in chosen[:number]]
        fewest = min(had[streams[one]] for one in left)
        rivals = [one for one in left if had[streams[one]] == fewest]

        def apart(one: int, there=tuple(there)) -> float:
            ours = places[one]
            return min(((ours[0] - x) ** 2 + (ours[1] - y) ** 2 for x, y in there), default=np.inf)

        assert at in rivals
        assert apart(at) == max(map(apart, rivals))
        had[streams[at]] += 1
        there.append(tuple(places[at]))


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30), st.booleans()), max_size=60),
    st.sets(st.tuples(st.sampled_from("ab"), st.integers(0, 30))),
    st.integers(1, 8),
    st.sampled_from([None, "a"]),
)
def test_the_pool_is_bounded_and_offers_nothing_that_is_done(told, done, most, stream):
    pool = Pool(most)
    for name, second, scored in told:
        output = {"scores": {"x": 0.6, "y": 0.4}} if scored else {"vector": [second, 1.0]}
        pool.add(seen(name, second, **output))
        assert len(pool) <= most
    keys = {Key(name, s * 1_000_000, (s + 1) * 1_000_000) for name, s in done}
    offered = pool.offer(5, stream, keys.__contains__)
    found = [one.key for one in offered]
    assert len(found) == len(set(found)) <= 5
    assert not keys & set(found)
    assert all(stream in (None, key.stream) for key in found)
    if stream is None and told and not keys:
        assert offered


def test_scores_of_the_head_in_force_come_before_vectors_and_those_of_a_head_before():
    pool = Pool()
    pool.add(seen("a", 0, vector=[1.0]))
    pool.add(seen("a", 1, "old", scores={"x": 0.5, "y": 0.5}))
    pool.add(seen("a", 2, "new", scores={"x": 0.9, "y": 0.1}))
    pool.add(seen("a", 3, "new", scores={"x": 0.55, "y": 0.45}, label="x"))
    offered = pool.offer(9, None, lambda _: False)
    assert [one.key.start_us // 1_000_000 for one in offered] == [3, 2]
    assert offered[0].told["guess"] == "x"
    pool.add(seen("a", 4, "none", vector=[2.0]))  # rolled back to no head
    assert [one.key.start_us // 1_000_000 for one in pool.offer(9, None, lambda _: False)] == [4, 0]


def test_windows_like_labelled_ones_come_last():
    pool = Pool()
    for second, place in enumerate([0.0, 0.1, 5.0, 5.1]):
        pool.add(seen("a", second, vector=[place, 0.0]))
    first = Key("a", 0, 1_000_000)
    pool.labelled(first, "x")
    offered = pool.offer(3, None, first.__eq__)
    assert [one.key.start_us // 1_000_000 for one in offered] == [3, 1, 2]
    pool.labelled(first, None)
    assert pool.offer(1, None, lambda _: False)[0].key.start_us == 3_000_000


def test_long_vectors_are_projected_so_that_distances_stay():
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((40, 900))
    projector = Projector()
    found = np.stack([projector.point(list(vector)) for vector in vectors])
    assert found.shape == (40, POINT_MAX)
    true = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)[np.triu_indices(40, 1)]
    seen_ = np.linalg.norm(found[:, None] - found[None], axis=2)[np.triu_indices(40, 1)]
    assert abs(seen_ / true - 1).mean() < 0.1
    assert (projector.point([1.0, 2.0]) == [1.0, 2.0]).all()


def test_what_is_no_result_is_left_out():
    for value in (None, b"", b"[]", b'{"stream": "a"}', result("a", 0)[:-1]):
        assert seen_of(value, Projector()) is None
    nothing = seen("a", 0, vector=None)
    assert (nothing.margin, nothing.point) == (None, None)
    pool = Pool()
    pool.add(nothing)
    assert pool.offer(3, None, lambda _: False) == []
