"""Topics to labels: recorded, exported, trained on, and served, on the in-memory broker."""

from __future__ import annotations

import json
import math
from contextlib import closing

import jsonschema
import numpy as np
import pytest
from documents import ROOT
from model_media import NEEDS_MODELS
from pipelines import broker_for, connector_for, load, values
from spoken_digits import FILE, PIXELS, WORDS, digits, labels_csv, publish

from pipeline.encoders.checking import check_pipeline
from pipeline.errors import InvalidInput
from pipeline.fusion.head_files import load_head
from pipeline.fusion.rules import Fuser
from pipeline.local import run_local
from pipeline.spec import Span, spanned
from pipeline.spec.head_card import card_hash, features_of, read_card
from pipeline.spec.head_store import check_head
from pipeline.tasks.host import RunControl
from pipeline.tasks.starting import check_topics
from pipeline.training.export import check_features, export, manifest
from pipeline.training.feature_set import read_set, writing
from pipeline.training.labels import LabelIndex, read_labels
from pipeline.training.options import TrainOptions
from pipeline.training.train import train

pytestmark = NEEDS_MODELS
LANES = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("digits")
    (made / "pixels.py").write_text(PIXELS)
    (made / "labels.csv").write_text(labels_csv(digits()))
    return made


@pytest.fixture(scope="module")
def recorded(folder):
    spec = load(FILE, folder=folder)
    broker = broker_for(spec, lanes=LANES)
    publish(broker, digits(), LANES)
    return broker


def exported(spec, broker, out, labels):
    connector = connector_for(broker)
    lengths = check_pipeline(spec)
    with closing(connector.control()) as control:
        layout = check_topics(spec, control)
    index = LabelIndex(read_labels(labels))
    with writing(out, {stage: lengths[stage] for stage in spec.fusion.of}) as writer:
        seen = export(spec, connector, layout, lengths, index, writer.add, RunControl())
        writer.close(manifest(spec, lengths, seen))
    return read_set(out), seen


@pytest.fixture(scope="module")
def data(folder, recorded):
    spec = load(FILE, folder=folder)
    found, seen = exported(spec, recorded, folder / "set", folder / "labels.csv")
    assert (seen.windows, seen.rows, seen.unlabelled) == (len(digits()),) * 2 + (0,)
    assert seen.failed == {}
    return found


@pytest.fixture(scope="module")
def trained(folder, data):
    made = train(load(FILE).fusion, data, TrainOptions("logistic"))
    made.save(folder / "heads" / "digits", data.manifest["features"])
    return made


def test_the_set_is_what_the_pipeline_fuses(folder, recorded, data):
    """The vectors of the set, fused by the file's rule, are those of the results, to the bit."""
    spec = load(FILE, folder=folder)
    run_local(spec, connector_for(recorded), RunControl(until_end=True))
    results = {(r["stream"], r["window"]["start_us"]): r for r in values(recorded, "out.results")}
    assert len(results) == len(data)
    fuser = Fuser.of(spec, data.lengths)
    for at in range(len(data)):
        vectors = {s: rows[at] for s, rows in data.vectors.items() if data.there[s][at]}
        fused = fuser.fuse(vectors)
        result = results[data.streams[at], int(data.start_us[at])]
        assert result["output"]["vector"] == fused.vector.tolist()
    said = {(s.stream, s.start_us): WORDS[s.digit] for s in digits()}
    named = zip(data.streams, data.start_us.tolist(), data.labels, strict=True)
    assert {(stream, start): label for stream, start, label in named} == said


def test_a_trained_head_names_digits_in_a_run(folder, recorded, data, trained):
    measured = trained.told["metrics"]
    assert measured["test"]["accuracy"] > 0.6 > 3 * measured["majority"]
    changes = {"name": "labelled", "fusion.head": "heads/digits", "fusion.abstain_below": 0.5}
    changes["outputs"] = {"results": "l.results", "late": "l.late", "dead_letter": "l.dead"}
    spec = load(FILE, changes, folder)
    for topic in spec.topics_out():
        recorded.create_topic(topic, LANES)
    run_local(spec, connector_for(recorded), RunControl(until_end=True))
    results = values(recorded, "l.results")
    schema = json.loads((ROOT / "docs" / "schemas" / "result.schema.json").read_text())
    for result in results:
        jsonschema.validate(result, schema)
    said = {(s.stream, s.start_us): WORDS[s.digit] for s in digits()}
    assert len(results) == len(said)
    right = named = 0
    for result in results:
        output = result["output"]
        assert list(output) == ["label", "scores"]
        assert list(output["scores"]) == sorted(WORDS)
        assert math.fsum(output["scores"].values()) == pytest.approx(1)
        best = max(output["scores"], key=output["scores"].__getitem__)
        assert output["label"] == (best if output["scores"][best] >= 0.5 else None)
        assert set(result["weights"]) == set(result["attribution"]) <= {"heard", "seen"}
        named += output["label"] is not None
        right += output["label"] == said[result["stream"], result["window"]["start_us"]]
    assert right / named > 0.8
    assert named > len(said) / 2
    sha256 = load_head(folder / "heads" / "digits").sha256
    assert results[0]["model"] == f"labelled@sha256:{spec.model_hash(sha256)}"
    assert spec.model_hash() == spec.model_hash(sha256) != load(FILE, folder=folder).model_hash()


def test_attribution_is_of_the_logit_that_the_head_gives(folder, data, trained):
    fuser = Fuser.of(load(FILE, {"fusion.head": "heads/digits"}, folder), data.lengths)
    labels = trained.fitted.spec.labels
    from pipeline.fusion.head_rule import HeadRule

    rule = HeadRule(trained.fitted.spec, trained.fitted.tensors)
    for at in range(20):
        vectors = {s: rows[at] for s, rows in data.vectors.items() if data.there[s][at]}
        fused = fuser.fuse(vectors)
        rows = {s: data.vectors[s][at : at + 1] for s in data.vectors}
        there = {s: data.there[s][at : at + 1] for s in data.vectors}
        nothing = {s: np.array([False]) for s in data.vectors}
        place = labels.index(fused.label)
        gained = rule.logits(rows, there)[0, place] - rule.logits(rows, nothing)[0, place]
        assert math.fsum(fused.attribution.values()) == pytest.approx(gained, abs=1e-5)


def test_the_same_set_gives_the_same_head_to_the_bit(folder, data, trained, tmp_path):
    again = train(load(FILE).fusion, read_set(folder / "set"), TrainOptions("logistic"))
    sha256 = again.save(tmp_path / "again", data.manifest["features"])
    assert sha256 == card_hash(read_card(folder / "heads" / "digits", "digits"))
    ours, theirs = tmp_path / "again", folder / "heads" / "digits"
    name = "head.safetensors"
    assert (ours / name).read_bytes() == (theirs / name).read_bytes()
    other = train(load(FILE).fusion, data, TrainOptions("logistic", seed=1))
    assert other.save(tmp_path / "other", data.manifest["features"]) != sha256


def test_an_export_of_a_part_is_that_part(folder, recorded, data, tmp_path):
    some = [line for line in labels_csv(digits()).splitlines() if "en-us-0,3000000" in line]
    path = tmp_path / "one.csv"
    path.write_text("\n".join(["stream,start_us,end_us,label", *some]))
    found, seen = exported(load(FILE, folder=folder), recorded, tmp_path / "part", path)
    assert (len(found), found.streams, found.start_us.tolist()) == (1, ("en-us-0",), [3_000_000])
    assert seen.windows < len(data)
    [at] = [
        at
        for at in range(len(data))
        if (data.streams[at], data.start_us[at]) == ("en-us-0", 3_000_000)
    ]
    for stage in data.vectors:
        np.testing.assert_array_equal(found.vectors[stage][0], data.vectors[stage][at])


def test_a_span_bounds_the_export_and_start_latest_does_not(folder, recorded, data, tmp_path):
    file = load(FILE, {"start": "latest"}, folder)
    spec = spanned(file, Span(None, 5_000_000), start_given=False)
    found, _ = exported(spec, recorded, tmp_path / "set", folder / "labels.csv")
    assert set(found.start_us.tolist()) == {0, 1_000_000, 2_000_000, 3_000_000, 4_000_000}
    assert len(found) == sum(at < 5_000_000 for at in data.start_us.tolist())
    spec = spanned(file, Span(10**12, None), start_given=False)
    with pytest.raises(InvalidInput, match="no label lies in the time that --from and --to leave"):
        exported(spec, recorded, tmp_path / "none", folder / "labels.csv")


def test_memory_is_given_back_while_it_replays(folder, recorded, data, tmp_path):
    """With room for one window at a time it comes to the same end: what is handed on is freed."""
    spec = load(FILE, {"limits.in_flight_bytes": "1KiB"}, folder)
    found, _ = exported(spec, recorded, tmp_path / "set", folder / "labels.csv")
    assert found.sha256() == data.sha256()


def test_windows_that_a_stage_fails_on_and_labels_that_fit_nothing(folder, recorded, tmp_path):
    broken = PIXELS.replace("return [", "assert batch[0].start_us != 0\n        return [")
    (folder / "brittle.py").write_text(broken)
    spec = load(FILE, {"stages.seen.encoder": "brittle:Pixels"}, folder)
    found, seen = exported(spec, recorded, tmp_path / "set", folder / "labels.csv")
    first = [at for at in range(len(found)) if found.start_us[at] == 0]
    shown = sum(said.start_us == 0 and said.picture is not None for said in digits())
    assert seen.failed == {"seen": shown}
    assert not any(found.there["seen"][at] for at in first)
    (tmp_path / "none.csv").write_text("stream,start_us,end_us,label\nnobody,0,1000000,one\n")
    with pytest.raises(InvalidInput, match=r"--labels: none of the \d+ windows read again has"):
        exported(spec, recorded, tmp_path / "no-set", tmp_path / "none.csv")
    assert not (tmp_path / "no-set" / "features.parquet").exists()


OTHER = [
    ({"stages.heard.options": {"n_mfcc": 12}}, "stages.heard.options.n_mfcc is 12, and was not"),
    ({"stages.seen.options": {"noise": 1.0}}, "stages.seen.options.noise is 1.0"),
    ({"stages.heard.encoder": "log_mel"}, "stages.heard.encoder is \"log_mel\", and was \"mfcc\""),
    ({"stages.heard.context": {"before": "1s"}}, "heard.context_us[0] is 1000000, and was 0"),
    ({"fusion.normalize": "l2"}, "fusion.normalize is l2, and was none"),
    ({"fusion.rule": "weighted_sum", "fusion.dim": 8}, "it is a head for the rule concat"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "why"), OTHER)
def test_a_head_for_other_features_is_refused_with_the_reason(folder, trained, changes, why):
    spec = load(FILE, {"fusion.head": "heads/digits", **changes}, folder)
    for refuses in (lambda: Fuser.of(spec, check_pipeline(spec)), lambda: check_head(spec)):
        with pytest.raises(InvalidInput) as caught:
            refuses()
        assert str(caught.value).startswith("fusion.head = heads/digits: ")
        assert why in str(caught.value)


def test_a_head_that_is_not_there_is_told_with_the_command_that_makes_one(folder):
    spec = load(FILE, {"fusion.head": "heads/none"}, folder)
    for refuses in (lambda: check_head(spec), lambda: Fuser.of(spec, check_pipeline(spec))):
        with pytest.raises(InvalidInput, match=r"heads/none: .*card\.json cannot be") as caught:
            refuses()
        assert "motet train FILE --labels LABELS" in str(caught.value)
    assert load(FILE, {"fusion.head": "x", "fusion.rule": "gated"}).fusion.rule == "gated"


def test_a_set_of_other_features_is_refused(folder, data):
    spec = load(FILE, {"stages.heard.options": {"n_mfcc": 12}}, folder)
    with pytest.raises(InvalidInput, match="--features = set: it was made with other features"):
        check_features(data.manifest, spec, "set")
    check_features(data.manifest, load(FILE, {"name": "other"}, folder), "set")


def test_replicas_topics_and_names_of_inputs_are_no_features(folder, data):
    tree = json.loads(json.dumps(FILE).replace('"mic"', '"ear"').replace("in.mic", "in.ear"))
    spec = load(tree, {"stages.heard.replicas": 2, "stages.heard.batch_max": 3}, folder)
    assert features_of(spec) == data.manifest["features"]
