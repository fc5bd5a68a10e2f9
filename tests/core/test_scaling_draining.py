"""What leaves a node that will go, over random clusters: nobody is left without a replica."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pipeline.scaling.draining import (
    AGAIN_S,
    LAST_S,
    NO_DEADLINE,
    DrainState,
    Facts,
    Stands,
    Step,
    decide,
    left_on,
)

NODES = ("a", "b", "c")
STAGES = ("sound", "words")
PLACED = st.tuples(
    st.sampled_from(STAGES), st.sampled_from([*NODES, None]), st.booleans(), st.booleans()
)


@st.composite
def situations(draw) -> Facts:
    replicas = tuple(
        Stands(f"{stage}-{number}", stage, node, ready, follower)
        for number, (stage, node, ready, follower) in enumerate(draw(st.lists(PLACED, max_size=8)))
    )
    leaving = draw(
        st.dictionaries(
            st.sampled_from(NODES),
            st.sampled_from([NO_DEADLINE, 100.0, 103.0, 160.0]),
            max_size=3,
        )
    )
    owners = {f"owner-{n}": node for n, node in enumerate(draw(st.lists(st.sampled_from(NODES))))}
    room = {stage: draw(st.integers(0, 3)) for stage in STAGES}
    moving = draw(st.frozensets(st.sampled_from(sorted(owners)))) if owners else frozenset()
    return Facts(100.0, leaving, replicas, owners, room, draw(st.booleans()), moving)


@given(situations())
def test_only_what_stands_on_nodes_that_go_is_touched_and_no_stage_loses_its_last(facts):
    decision, _ = decide(facts, DrainState())
    by_name = {each.name: each for each in facts.replicas}
    started = Counter(by_name[s.name].stage for s in decision.steps if s.kind == "replace")
    assert all(number <= facts.room[stage] for stage, number in started.items())
    for kind, name in decision.steps:
        at = facts.owners[name] if kind == "move" else by_name[name].node
        assert at in facts.leaving
        if kind == "replace":
            assert not by_name[name].follower
        if kind == "release":
            each = by_name[name]
            assert facts.leaving[each.node] - facts.now_s <= LAST_S
            assert any(
                other.stage == each.stage and other.ready and other.node not in facts.leaving
                for other in facts.replicas
            )
    assert sum(step.kind == "move" for step in decision.steps) <= 1
    assert len({step.name for step in decision.steps}) == len(decision.steps)


@given(situations())
def test_what_may_leave_does_and_what_may_not_is_named(facts):
    decision, _ = decide(facts, DrainState())
    moved = any(step.kind == "move" for step in decision.steps)
    going = [name for name, node in facts.owners.items() if node in facts.leaving]
    if facts.moving & set(going):
        going = []  # one after another
    assert moved == bool(going and facts.owner_room)
    assert decision.stuck.get("owner", 0) == (len(going) if going and not facts.owner_room else 0)
    touched = {step.name for step in decision.steps}
    for stage in STAGES:
        waiting = sum(
            each.stage == stage and each.node in facts.leaving and not each.follower
            and each.name not in touched
            for each in facts.replicas
        )  # fmt: skip
        assert decision.stuck.get(stage, 0) == waiting


def facts_of(now_s: float, *replicas: Stands, by_s: float = NO_DEADLINE, **owners: str) -> Facts:
    return Facts(now_s, {"a": by_s}, replicas, owners, {"sound": 9}, True)


def test_a_replica_is_replaced_once_and_again_after_a_pause_where_that_did_not_start():
    old = Stands("sound-1", "sound", "a", True)
    decision, state = decide(facts_of(0, old), DrainState())
    assert decision.steps == (Step("replace", "sound-1"),)
    followed = old._replace(follower=True)
    decision, state = decide(facts_of(1, followed), state)
    assert decision.steps == ()
    # it ended while it loaded
    decision, state = decide(facts_of(2, old), state)
    assert decision.steps == ()
    decision, state = decide(facts_of(AGAIN_S, old), state)
    assert decision.steps == (Step("replace", "sound-1"),)
    assert decide(facts_of(2 * AGAIN_S, old), state)[0].steps == (), "the pause has doubled"
    assert decide(facts_of(1000, Stands("sound-9", "sound", "b", True)), state)[1].tries == {}


def test_near_the_deadline_it_is_let_go_where_others_work_and_else_goes_on():
    old = Stands("sound-1", "sound", "a", True, follower=True)
    late = facts_of(95, old, by_s=100)
    assert decide(late, DrainState())[0].steps == ()
    other = Stands("sound-2", "sound", "b", True)
    for beside, steps in ((other, 1), (other._replace(ready=False), 0)):
        decision, _ = decide(late._replace(replicas=(old, beside)), DrainState())
        assert decision.steps == (Step("release", "sound-1"),) * steps


def test_owners_move_one_after_another_those_of_the_first_node_to_go_before_others():
    facts = Facts(
        0, {"a": 60, "b": 30}, (), {"owner-0": "a", "owner-1": "b", "owner-2": "c"}, {}, True
    )
    assert decide(facts, DrainState())[0].steps == (Step("move", "owner-1"),)
    facts = facts._replace(owners={"owner-0": "a", "owner-2": "c"})
    assert decide(facts, DrainState())[0].steps == (Step("move", "owner-0"),)
    assert left_on("a", facts) == (1, 0)
