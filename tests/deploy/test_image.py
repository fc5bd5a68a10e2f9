"""deploy/'s image without Docker: what it copies, who runs in it, and its health check."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from fnmatch import fnmatch

import pytest
from deploy_files import DEPLOY, DOCKERFILE, INSTRUCTIONS, ROOT, SERVICES
from deploy_server import TOKEN, served

from pipeline import __version__


def test_the_image_copies_what_there_is_and_what_the_ignore_file_lets_through():
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    patterns = [line for line in ignore if line and not line.startswith("#")]
    assert patterns[0] == "*"
    copied = [
        source
        for word, argument in INSTRUCTIONS
        if word == "COPY" and "--from" not in argument
        for source in argument.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert (ROOT / source).exists()
        assert f"!{source}" in patterns
    secret = "deploy/.env"
    assert not any(fnmatch(secret, pattern.removeprefix("!")) for pattern in patterns[1:])


def test_the_last_stage_has_no_tools_and_another_user_than_root():
    last = INSTRUCTIONS[max(i for i, (word, _) in enumerate(INSTRUCTIONS) if word == "FROM") :]
    words = [word for word, _ in last]
    assert words.count("USER") == 1
    assert not {"apt-get", "pip", "uv"} & set(" ".join(a for w, a in last if w == "RUN").split())
    [user] = [argument for word, argument in last if word == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    made = " ".join(argument for word, argument in last if word == "RUN")
    assert all(f"--{kind} {user.split(':')[0]}" in made for kind in ("uid", "gid"))
    assert words.index("USER") > max(i for i, word in enumerate(words) if word == "RUN")
    environment = " ".join(argument for word, argument in last if word == "ENV")
    [cache] = re.findall(r"NUMBA_CACHE_DIR=(\S+)", environment)
    [writable] = re.findall(r"install -d -o motet -g motet (.*)$", made)
    assert {cache, "/tmp/ray"} == set(writable.split())


def test_the_image_is_of_this_version_and_builds_from_the_lock():
    assert SERVICES["motet"]["image"] == f"motet:{__version__}"
    assert f"ARG VERSION={__version__}" in DOCKERFILE
    lock = (ROOT / "requirements-models.lock").read_text()
    [setuptools] = re.findall(r"^setuptools==(\d+)", lock, re.MULTILINE)
    assert int(setuptools) >= 77  # the build goes without isolation
    label = re.findall(r"org\.opencontainers\.image\.(\w+)", DOCKERFILE)
    assert {"title", "description", "version", "revision", "licenses"} == set(label)


def health_check() -> list[str]:
    [argument] = [argument for word, argument in INSTRUCTIONS if word == "HEALTHCHECK"]
    command: list[str] = json.loads(argument[argument.index("[") :])
    return command


@pytest.mark.parametrize(
    ("token", "code"), [(TOKEN + "\n", 0), ("another", 1), (None, 1)], ids=["own", "wrong", "none"]
)
def test_the_health_check_of_the_image(tmp_path, token, code):
    environ = dict(os.environ)
    if token is not None:
        (tmp_path / "token").write_text(token)
        environ["METRICS_TOKEN_FILE"] = str(tmp_path / "token")
    program, flag, source = health_check()
    assert (program, flag) == ("python", "-c")
    with served() as port:
        asked = source.replace("127.0.0.1:9464", f"127.0.0.1:{port}")
        assert asked != source
        command = [sys.executable, flag, asked]
        done = subprocess.run(command, env=environ, capture_output=True, timeout=30, check=False)
        assert done.returncode == code
    done = subprocess.run(command, env=environ, capture_output=True, timeout=30, check=False)
    assert done.returncode == 1
