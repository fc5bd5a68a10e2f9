"""Encoders by name: built-ins, user classes, and every way to be wrong."""

from __future__ import annotations

import itertools
import sys
import textwrap

import numpy as np
import pytest
import torch

from pipeline.encoders.audio import LogMel
from pipeline.encoders.loading import load_encoder, vector_length
from pipeline.errors import InvalidInput

CPU = torch.device("cpu")
_NUMBERS = itertools.count()

GOOD = """
    import numpy as np

    class Loudness:
        takes, gives, length = "audio", "vector", 1

        def __init__(self, device, *, scale=1.0):
            self.device, self.scale = device, scale

        def encode(self, batch):
            return [np.array([self.scale * len(clip.samples)], np.float32) for clip in batch]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


@pytest.fixture
def written(folder):
    """Writes a module under a name of its own and gives the name."""

    def write(source: str, name: str | None = None) -> str:
        name = name or f"user_module_{next(_NUMBERS)}"
        path = folder.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
        return name

    return write


def error_of(name, options=None, folder=None, key="stages.sound.encoder") -> str:
    with pytest.raises(InvalidInput) as caught:
        load_encoder(name, options or {}, CPU, folder, key=key)
    text = str(caught.value)
    assert "\n" not in text
    assert "; " in text
    return text


def test_a_built_in_by_its_name():
    encoder = load_encoder("log_mel", {"n_mels": 32}, CPU)
    assert isinstance(encoder, LogMel)
    assert encoder.length == 32


def test_a_class_beside_the_pipeline_file(folder, written):
    encoder = load_encoder(f"{written(GOOD)}:Loudness", {"scale": 2.0}, CPU, folder)
    assert encoder.device == CPU
    assert encoder.scale == 2.0


def test_a_class_in_a_package(folder, written):
    written("", "user_package.__init__")
    name = written(GOOD, "user_package.inner.sounds")
    assert vector_length(load_encoder(f"{name}:Loudness", {}, CPU, folder)) == 1


def test_the_folder_is_appended_once_and_last(folder, written):
    name = written(GOOD)
    for _ in range(2):
        load_encoder(f"{name}:Loudness", {}, CPU, folder)
    assert sys.path[-1] == str(folder)
    assert sys.path.count(str(folder)) == 1


def test_a_shadowed_name_tells_which_file_was_found(folder, written):
    written(GOOD, "statistics")
    text = error_of("statistics:Loudness", folder=folder)
    assert sys.modules["statistics"].__file__ in text
    assert f"it hides {folder / 'statistics.py'}" in text
    assert "rename your module" in text


def test_a_shadowed_package_tells_which_file_was_found(folder, written):
    written("", "json.__init__")
    written(GOOD, "json.mine")
    text = error_of("json.mine:Loudness", folder=folder)
    assert sys.modules["json"].__file__ in text
    assert f"it hides {folder / 'json'}; rename your module" in text


def test_no_such_encoder():
    assert error_of("log_mell").startswith(
        "stages.sound.encoder = log_mell: is no encoder; did you mean 'log_mel'?"
    )


def test_no_such_module(folder):
    text = error_of("nowhere_to_be_found:Thing", folder=folder)
    assert "module nowhere_to_be_found is not in" in text
    assert str(folder) in text


def test_no_such_class_suggests_the_near_one(folder, written):
    name = written(GOOD)
    text = error_of(f"{name}:Loudnes", folder=folder)
    assert f"module {name} ({folder / name}.py) has no Loudnes; did you mean 'Loudness'?" in text


def test_a_function_is_no_class(folder, written):
    name = written("def make(device): ...")
    assert "is a function, no class" in error_of(f"{name}:make", folder=folder)


def test_a_module_that_does_not_import(folder, written):
    name = written("import nowhere_at_all_either")
    text = error_of(f"{name}:Thing", folder=folder)
    assert f"importing {name} fails with ModuleNotFoundError: No module named" in text
    name = written("def broken(:")
    assert "fails with SyntaxError" in error_of(f"{name}:Thing", folder=folder)
    name = written("raise RuntimeError('two\\nlines')")
    assert "fails with RuntimeError: two lines" in error_of(f"{name}:Thing", folder=folder)


def test_what_a_constructor_raises_is_told(folder, written):
    name = written("""
        class Picky:
            takes, gives = "text", "text"
            def __init__(self, device): raise OSError("no weights at /data")
            def encode(self, batch): return []
    """)
    assert "building it fails with OSError: no weights at /data" in error_of(
        f"{name}:Picky", folder=folder
    )


def test_unknown_options_are_named_with_what_is_known(folder, written):
    text = error_of("log_mel", {"n_mel": 3})
    assert text == ("stages.sound.options.n_mel: is no option of log_mel; did you mean 'n_mels'?")
    assert "takes dim" in error_of("hash_text", {"zzz": 3})
    name = f"{written(GOOD)}:Loudness"
    assert f"is no option of {name}" in error_of(name, {"gain": 1}, folder)


def test_a_missing_option_is_named():
    assert "missing a required argument: 'name'" in error_of("librosa_feature")


def test_a_wrong_value_carries_the_stages_key():
    assert error_of("log_mel", {"n_mels": -1}).startswith(
        "stages.sound.options.n_mels = -1: is out"
    )


def test_device_is_no_option():
    assert "stages.sound.options.device: is no option" in error_of("log_mel", {"device": "cuda"})


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("gives = 'vector'", "its takes is None"),
        ("takes, gives = 'sound', 'vector'", "its takes is 'sound'"),
        ("takes, gives = (), 'vector'", "its takes is ()"),
        ("takes, gives = ('text', 1), 'vector'", "its takes is ('te"),
        ("takes = 'text'", "its gives is None"),
        ("takes, gives = 'text', 'vectors'", "its gives is 'vectors'"),
        ("takes, gives = 'text', ('text',)", "its gives is ('text',)"),
        ("takes, gives = 'text', 'text'", "it has no encode"),
        ("takes, gives, length = 'text', 'vector', 0", "length is 0"),
        ("takes, gives, rate = 'audio', 'vector', 1.5", "rate is 1.5"),
    ],
)  # fmt: skip
def test_the_protocol_is_checked(folder, written, body: str, told: str):
    encode = "" if "no encode" in told else "def encode(self, batch): ..."
    name = written(f"class Odd:\n    def __init__(self, device): ...\n    {body}\n    {encode}\n")
    assert told in error_of(f"{name}:Odd", folder=folder)


class Asked:
    takes, gives = ("audio", "image", "text", "vector"), "vector"

    def __init__(self, answer):
        self.answer = answer

    def encode(self, batch):
        [clip] = batch
        assert (len(clip.samples), clip.rate, len(clip.frames), clip.text) == (0, 16_000, 0, "")
        return self.answer(clip)


def test_a_length_that_is_not_stated_is_asked_for():
    assert vector_length(Asked(lambda clip: [np.zeros(len(clip.vector) + 3)]), 4) == 7
    assert vector_length(Asked(lambda _: torch.zeros(1, 5))) == 5


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda clip: [np.zeros((2, 3))], r"gives 1 outputs of shape \(2, 3\)"),
        (lambda clip: [np.zeros(0)], r"gives 1 outputs of shape \(0,\)"),
        (lambda clip: [np.zeros(2)] * 2, r"gives 2 outputs of shape \(2,\)"),
        (lambda clip: 1 / 0, "an empty clip fails with ZeroDivisionError"),
    ],
)
def test_a_length_that_cannot_be_had(answer, told: str):
    with pytest.raises(InvalidInput, match=told):
        vector_length(Asked(answer), key="stages.a.encoder")
