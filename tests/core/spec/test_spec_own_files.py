"""Files of the user's among the options of built-in encoders: found from the pipeline file."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.spec import BUILTIN, load, loads
from pipeline.spec.own_files import own_paths, resolved

TREE = {
    "name": "gate",
    "inputs": {"cam": {"topic": "gate.cam", "type": "image/jpeg"}},
    "windows": {"size": "1s"},
    "stages": {
        "faces": {"encoder": "faces", "of": "cam", "options": {"cascade": "own/profile.xml"}},
        "colour": {"encoder": "color_histogram", "of": "cam"},
    },
    "fusion": {"rule": "concat", "of": {"colour": 1}},
    "outputs": {"results": "gate.results", "late": "gate.late", "dead_letter": "gate.dead"},
}
TREE["stages"]["faces"]["out"] = "gate.faces"


def spec_in(folder: Path, **options: object):
    tree = json.loads(json.dumps(TREE))
    tree["stages"]["faces"]["options"] |= options
    return loads(yaml.safe_dump(tree), folder=folder, environ={})


def test_the_options_that_are_paths_are_known_and_are_options():
    found = {name: builtin.paths for name, builtin in BUILTIN.items() if builtin.paths}
    assert found == {
        "audio_embedding": ("model",),
        "speech_to_text": ("model",),
        "image_embedding": ("weights", "model"),
        "image_labels": ("weights", "model", "labels"),
        "image_to_text": ("detector", "recognizer"),
        "faces": ("cascade",),
        "text_embedding": ("weights", "model"),
        "text_image": ("font",),
        "text_to_text": ("model",),
    }


def test_relative_paths_are_those_beside_the_file_and_others_stay(tmp_path):
    given = {"weights": "w/net.pth", "labels": str(tmp_path / "l.txt"), "top": 3, "size": None}
    assert resolved("image_labels", given, tmp_path) == {
        **given,
        "weights": str(tmp_path / "w" / "net.pth"),
    }
    assert resolved("image_labels", {"model": "~/m.ts"}, tmp_path) == {
        "model": str(Path.home() / "m.ts")
    }
    # `labels` of this one is no path, and what a class of the user's takes is its own business
    for encoder in ("image_to_text", "own:Class"):
        assert resolved(encoder, {"labels": "x", "model": "y"}, tmp_path) == {
            "labels": "x",
            "model": "y",
        }
    assert own_paths("image_to_text", {"labels": True, "detector": ""}, tmp_path) == {}
    assert resolved("faces", {"cascade": "x.xml"}, None) == {"cascade": "x.xml"}


def test_the_model_is_named_by_what_is_in_the_file_wherever_it_lies(tmp_path):
    (tmp_path / "own").mkdir()
    file = tmp_path / "own" / "profile.xml"
    missing = spec_in(tmp_path).model_hash()
    file.write_bytes(b"one")
    one = spec_in(tmp_path).model_hash()
    file.write_bytes(b"two")
    assert len({missing, one, spec_in(tmp_path).model_hash()}) == 3
    file.write_bytes(b"one")
    assert spec_in(tmp_path).model_hash() == one
    other = tmp_path / "moved"
    (tmp_path / "own").rename(other)
    other.rename(tmp_path / "own")
    assert spec_in(tmp_path).model_hash() == one


def test_a_folder_counts_with_the_names_and_the_content_of_its_files(tmp_path):
    def hashed() -> str:
        tree = json.loads(json.dumps(TREE))
        tree["inputs"]["chat"] = {"topic": "gate.text", "type": "text/plain"}
        tree["stages"]["words"] = {
            "encoder": "text_embedding", "of": "chat", "options": {"model": "mini"},
        }  # fmt: skip
        tree["fusion"]["of"]["words"] = 1
        return loads(yaml.safe_dump(tree), folder=tmp_path, environ={}).model_hash()

    folder = tmp_path / "mini" / "deep"
    folder.mkdir(parents=True)
    hashes = [hashed()]
    for name, content in (("a", b"1"), ("a", b"2"), ("b", b"2"), ("deep/c", b"")):
        (tmp_path / "mini" / name).write_bytes(content)
        hashes.append(hashed())
    (tmp_path / "mini" / "b").rename(tmp_path / "mini" / "d")
    hashes.append(hashed())
    assert len(set(hashes)) == len(hashes)


def test_what_was_read_makes_no_two_pipelines_differ(tmp_path):
    one, two = spec_in(tmp_path), spec_in(tmp_path)
    one.model_hash()
    assert one.digests
    assert not two.digests
    assert one == two


BUILD = """
import pickle, sys, torch
from pipeline.tasks.encode import encode_task
spec = pickle.load(open(sys.argv[1], "rb"))
encode_task(spec, "faces", torch.device("cpu"), {})
print(spec.model_hash())
"""


def test_a_process_in_another_folder_finds_the_file_and_gives_the_model_the_same_name(
    tmp_path, monkeypatch
):
    cv2 = pytest.importorskip("cv2")
    (tmp_path / "own").mkdir()
    (tmp_path / "elsewhere").mkdir()
    content = Path(cv2.data.haarcascades, "haarcascade_profileface.xml").read_bytes()
    (tmp_path / "own" / "profile.xml").write_bytes(content)
    (tmp_path / "gate.yaml").write_text(yaml.safe_dump(TREE))
    monkeypatch.chdir(tmp_path)
    spec = load(Path("gate.yaml"))  # as it is typed
    model = spec.model_hash()
    sent = tmp_path / "spec"
    sent.write_bytes(pickle.dumps(spec))
    command = [sys.executable, "-c", BUILD, str(sent)]
    done = subprocess.run(
        command, cwd=tmp_path / "elsewhere", capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == [model], done.stderr
    (tmp_path / "own" / "profile.xml").unlink()  # on another node it may not be there to read
    assert pickle.loads(sent.read_bytes()).model_hash() == model
