"""Heads deployed, listed and rolled back: the folder that ``fusion.head`` names."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_heads import made_head
from pipelines import CHAT, load

from pipeline.clock import wall_us
from pipeline.encoders.checking import check_pipeline
from pipeline.errors import InvalidInput
from pipeline.fusion.rules import Fuser, head_in_force
from pipeline.spec import head_store
from pipeline.spec.head_store import Deployment, HeadStore, check_head
from pipeline.tasks.deploying import Change, deploy, deployer, roll_back, versions

LENGTHS = {"words": 8}
HEADS = 4


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folders of heads for the pipeline, by number, and their hashes."""
    folder = tmp_path_factory.mktemp("made")
    spec = load(CHAT)
    assert check_pipeline(spec) == LENGTHS
    return folder, [made_head(folder / str(n), spec, n) for n in range(HEADS)]


@pytest.fixture
def spec(tmp_path):
    return load(CHAT, {"fusion.head": "heads/mood"}, tmp_path)


def in_force(spec) -> str | None:
    head = head_in_force(spec)
    assert Fuser.of(spec, LENGTHS).head_hash == (head and head.sha256)
    return head and head.sha256


def put(spec, folder, number) -> Change:
    return deploy(spec, folder / str(number), LENGTHS, "me@here")


def test_a_deployed_head_is_a_version_and_in_force(spec, made, tmp_path):
    folder, [one, two, *_] = made
    with pytest.raises(InvalidInput, match=r"card\.json cannot be read"):
        in_force(spec)
    before_us = wall_us()
    assert put(spec, folder, 0) == (one, None)
    assert in_force(spec) == one
    assert put(spec, folder, 1) == (two, one)
    assert in_force(spec) == two
    check_head(spec)
    assert spec.model_hash() == spec.model_hash(two) != spec.model_hash(one)
    kept = tmp_path / "heads" / "mood" / "versions"
    assert sorted(path.name for path in kept.iterdir()) == sorted([one, two])
    for number, sha256 in enumerate([one, two]):
        for name in ("card.json", "head.safetensors"):
            same = (kept / sha256 / name).read_bytes() == (folder / str(number) / name).read_bytes()
            assert same
    deployed = HeadStore.of(spec).deployments()
    assert [(each.sha256, each.by) for each in deployed] == [(one, "me@here"), (two, "me@here")]
    assert before_us <= deployed[0].at_us <= deployed[1].at_us <= wall_us()


def test_what_is_in_force_already_is_not_deployed_again(spec, made):
    folder, [one, *_] = made
    put(spec, folder, 0)
    assert put(spec, folder, 0) == (one, one)
    assert len(HeadStore.of(spec).deployments()) == 1


def test_a_folder_that_training_wrote_goes_on_and_is_kept_at_the_first_deployment(
    spec, made, tmp_path
):
    folder, [one, two, *_] = made
    shutil.copytree(folder / "0", tmp_path / "heads" / "mood")
    assert in_force(spec) == one
    [only] = versions(spec)
    assert (only.sha256, only.deployed, only.in_force) == (one, (), True)
    assert put(spec, folder, 1) == (two, one)
    assert HeadStore.of(spec).deployments()[0] == Deployment(one, None, None)
    assert roll_back(spec, None, LENGTHS, "me") == (one, two)
    assert in_force(spec) == one


def test_the_head_in_the_folder_itself_can_be_deployed(spec, made, tmp_path):
    """Trained to where the file says: it is in force from the deployment on, and not before."""
    folder, [one, two, *_] = made
    own = tmp_path / "heads" / "mood"
    put(spec, folder, 0)
    for name in ("card.json", "head.safetensors"):
        shutil.copy(folder / "1" / name, own / name)
    assert in_force(spec) == one
    assert deploy(spec, own, LENGTHS, "me") == (two, one)
    assert in_force(spec) == two


def test_a_rollback_goes_back_to_the_one_before_and_another_one_undoes_it(spec, made):
    folder, [one, two, three, _] = made
    for number in range(3):
        put(spec, folder, number)
    assert roll_back(spec, None, LENGTHS, "you@there") == (two, three)
    assert roll_back(spec, None, LENGTHS, "you@there") == (three, two)
    assert roll_back(spec, one[:6], LENGTHS, "you@there") == (one, three)
    assert in_force(spec) == one
    found = [each.sha256 for each in HeadStore.of(spec).deployments()]
    assert found == [one, two, three, two, three, one]
    listed = versions(spec)
    assert [each.sha256 for each in listed] == [two, three, one]  # by their last deployment
    assert [each.in_force for each in listed] == [False, False, True]
    assert [len(each.deployed) for each in listed] == [2, 2, 2]
    assert listed[0].card["metrics"]["test"]["accuracy"] == 0.01


def test_no_head_is_a_deployment_too(spec, made):
    folder, [one, *_] = made
    assert deploy(spec, None, LENGTHS, "me") == (None, None)
    assert in_force(spec) is None
    check_head(spec)
    without = load(CHAT)
    assert spec.model_hash() == without.model_hash()
    assert put(spec, folder, 0) == (one, None)
    assert roll_back(spec, None, LENGTHS, "me") == (None, one)
    assert in_force(spec) is None
    assert [each.sha256 for each in versions(spec)] == [one, None]
    gated = load(CHAT, {"fusion.head": "heads/mood", "fusion.rule": "gated"}, spec.folder)
    with pytest.raises(InvalidInput, match="gated needs a trained head"):
        deploy(gated, None, LENGTHS, "me")


# -- what is refused, with nothing done -------------------------------------------------------

OTHER = [
    ({"stages.words.options": {"dim": 8, "seed": 3}}, {}, "stages.words.options.seed is 3"),
    ({}, {"words": 9}, "stages.words gives 9 numbers, and gave 8"),
    ({"fusion.normalize": "l2"}, {}, "fusion.normalize is l2, and was none"),
    ({"fusion.rule": "weighted_sum"}, {}, "it is a head for the rule concat"),
]


@pytest.mark.parametrize(("changes", "lengths", "why"), OTHER)
def test_a_head_for_other_features_is_refused(spec, made, changes, lengths, why):
    folder, _ = made
    put(spec, folder, 0)
    other = load(CHAT, {"fusion.head": "heads/mood", **changes}, spec.folder)
    with pytest.raises(InvalidInput) as caught:
        deploy(other, folder / "1", {**LENGTHS, **lengths}, "me")
    assert str(caught.value).startswith(f"HEAD = {folder / '1'}: ")
    assert why in str(caught.value)
    put(spec, folder, 1)
    with pytest.raises(InvalidInput) as caught:  # the file has changed since it was deployed
        roll_back(other, None, {**LENGTHS, **lengths}, "me")
    assert str(caught.value).startswith("fusion.head = heads/mood: ")
    assert why in str(caught.value)
    assert len(HeadStore.of(spec).deployments()) == 2


def test_a_head_that_is_not_whole_is_refused(spec, made, tmp_path):
    folder, [one, *_] = made
    put(spec, folder, 0)
    broken = tmp_path / "broken"
    shutil.copytree(folder / "1", broken)
    (broken / "head.safetensors").write_bytes(b"torn")
    for head, why in [
        (broken, "is not the file that card.json was written with"),
        (tmp_path / "none", "card.json cannot be read"),
    ]:
        with pytest.raises(InvalidInput, match=why):
            deploy(spec, head, LENGTHS, "me")
    assert in_force(spec) == one
    assert versions(spec)[-1].in_force


def test_a_file_without_a_folder_for_heads_is_told_how_to_get_one(made):
    for refuses in (
        lambda: put(load(CHAT), made[0], 0),
        lambda: roll_back(load(CHAT), None, LENGTHS, "me"),
        lambda: versions(load(CHAT)),
    ):
        with pytest.raises(InvalidInput, match=r"fusion\.head: the file names no folder") as caught:
            refuses()
        assert "motet heads deploy FILE --none" in str(caught.value)


def test_there_must_be_something_to_go_back_to(spec, made):
    folder, [one, two, *_] = made

    def refused(to, why):
        with pytest.raises(InvalidInput, match=why):
            roll_back(spec, to, LENGTHS, "me")

    refused(None, "nothing was deployed there")
    assert not (spec.folder / "heads").exists()
    put(spec, folder, 0)
    refused(None, "no other head was deployed before")
    put(spec, folder, 1)
    refused("x", f"--to = x: no version begins so; there are: {one[:12]}, {two[:12]}")
    refused("", "--to: several versions begin so")
    assert in_force(spec) == two


# -- what happens to the folder ---------------------------------------------------------------


NO_LISTS = [
    "",
    "{",
    "[]",
    '{"format": 9, "deployments": []}',
    '{"format": 1, "deployments": [{"sha256": "../x"}]}',
]


@pytest.mark.parametrize("text", NO_LISTS)
def test_a_list_that_cannot_be_read_is_an_error_and_never_no_list(spec, made, text):
    folder, _ = made
    put(spec, folder, 0)
    (spec.folder / "heads" / "mood" / "deployed.json").write_text(text)
    for refuses in (lambda: in_force(spec), lambda: put(spec, folder, 1), lambda: versions(spec)):
        with pytest.raises(InvalidInput, match=r"fusion.head = heads/mood: .*deployed.json"):
            refuses()


def test_a_version_that_was_changed_is_refused_and_mended_by_its_deployment(spec, made):
    folder, [one, *_] = made
    put(spec, folder, 0)
    path = spec.folder / "heads" / "mood" / "versions" / one / "card.json"
    card = json.loads(path.read_text())
    card["head"]["labels"].reverse()
    path.write_text(json.dumps(card))
    with pytest.raises(InvalidInput, match="was changed, and no version may be"):
        in_force(spec)
    assert put(spec, folder, 0) == (one, one)
    assert in_force(spec) == one


@pytest.mark.parametrize("step", range(1, 7))
def test_a_deployment_that_is_interrupted_is_not_done_or_done(spec, made, monkeypatch, step):
    """At each write in turn: the next deployment goes on from whatever is there."""
    folder, [one, two, *_] = made
    put(spec, folder, 0)
    steps, sync = [], head_store._sync

    def syncing(path):
        steps.append(path)
        if len(steps) == step:
            raise KeyboardInterrupt
        sync(path)

    with monkeypatch.context() as patched:
        patched.setattr(head_store, "_sync", syncing)
        with pytest.raises(KeyboardInterrupt):
            put(spec, folder, 1)
    done = step == 6  # after the rename
    assert in_force(spec) == (two if done else one)
    assert put(spec, folder, 1) == (two, two if done else one)
    assert in_force(spec) == two
    assert {each.sha256 for each in versions(spec)} == {one, two}


def test_deployments_at_the_same_time_are_all_in_the_list(spec, made):
    folder, hashes = made
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: put(spec, folder, n % HEADS), range(24)))
    found = [each.sha256 for each in HeadStore.of(spec).deployments()]
    assert set(found) == set(hashes)
    assert all(a != b for a, b in pairwise(found))
    assert in_force(spec) == found[-1]


def test_the_list_is_bounded_and_with_it_the_versions(spec, made, monkeypatch):
    folder, [one, two, three, _] = made
    monkeypatch.setattr(head_store, "DEPLOYMENTS_MAX", 3)
    for number in (0, 1, 2, 1):
        put(spec, folder, number)
    assert [d.sha256 for d in HeadStore.of(spec).deployments()] == [two, three, two]
    kept = spec.folder / "heads" / "mood" / "versions"
    assert sorted(path.name for path in kept.iterdir()) == sorted([two, three])
    assert one not in {each.sha256 for each in versions(spec)}


def test_a_folder_that_cannot_be_written_is_told(made, tmp_path):
    (tmp_path / "heads").write_text("a file")
    spec = load(CHAT, {"fusion.head": "heads/mood"}, tmp_path)
    with pytest.raises(InvalidInput, match=r"heads/mood: .* cannot be written"):
        put(spec, made[0], 0)


def test_who_deploys_has_a_name(monkeypatch):
    assert "@" in deployer()
    monkeypatch.setattr("getpass.getuser", lambda: {}["no such user"])
    assert deployer().startswith("unknown@")


STEPS = st.lists(st.sampled_from([*range(HEADS), None, "back"]), max_size=12)


@settings(max_examples=30)
@given(steps=STEPS)
def test_any_history_is_told_as_it_was(made, tmp_path_factory, steps):
    folder, hashes = made
    spec = load(CHAT, {"fusion.head": "mood"}, tmp_path_factory.mktemp("history"))
    said: list[str | None] = []
    for step in steps:
        if step == "back":
            if len(said) < 2:
                with pytest.raises(InvalidInput):
                    roll_back(spec, None, LENGTHS, "me")
                continue
            said.append(said[-2])
            assert roll_back(spec, None, LENGTHS, "me") == (said[-1], said[-2])
        else:
            head = None if step is None else folder / str(step)
            wanted = None if step is None else hashes[step]
            if not said or said[-1] != wanted:
                said.append(wanted)
            assert deploy(spec, head, LENGTHS, "me").sha256 == wanted
        assert in_force(spec) == said[-1]
        assert [each.sha256 for each in HeadStore.of(spec).deployments()] == said
