"""deploy/'s image without Docker: what it copies, who runs in it, and its health check."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch

import pytest
from deploy_files import (
    DEPLOY,
    DOCKERFILE,
    INSTRUCTIONS,
    ROOT,
    SERVICES,
    environment_of_the_image,
)
from deploy_server import TOKEN, served
from probing import probed
from ray_nodes import HEALTH

from actors.cluster import ENVIRONMENT
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
        if not source.startswith("--")
    ]
    assert copied
    for source in copied:
        assert (ROOT / source).exists()
        assert f"!{source}" in patterns
    secret = "deploy/.env"
    assert not any(fnmatch(secret, pattern.removeprefix("!")) for pattern in patterns[1:])


def stage(name: str) -> list[tuple[str, str]]:
    """The instructions of a stage, its FROM first."""
    begins = [i for i, (word, _) in enumerate(INSTRUCTIONS) if word == "FROM"]
    [begin] = [i for i in begins if INSTRUCTIONS[i][1].endswith(f" AS {name}")]
    end = min([i for i in begins if i > begin], default=len(INSTRUCTIONS))
    return INSTRUCTIONS[begin:end]


def test_what_runs_has_no_tools_and_another_user_than_root():
    last = stage("runtime")
    words = [word for word, _ in last]
    assert words.count("USER") == 1
    assert not {"apt-get", "pip", "uv"} & set(" ".join(a for w, a in last if w == "RUN").split())
    [user] = [argument for word, argument in last if word == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    made = " ".join(argument for word, argument in last if word == "RUN")
    assert all(f"--{kind} {user.split(':')[0]}" in made for kind in ("uid", "gid"))
    assert words.index("USER") > max(i for i, word in enumerate(words) if word == "RUN")
    # The root may be read-only: what is compiled and cached goes where the session is.
    environment = environment_of_the_image()
    caches = {name for name in environment if name.endswith(("CACHE_DIR", "CACHE_HOME"))}
    assert caches == {"NUMBA_CACHE_DIR", "TRITON_CACHE_DIR", "XDG_CACHE_HOME"}
    assert all(environment[name].startswith("/tmp/") for name in caches)


def test_images_for_cpus_and_gpus_are_one_and_the_same_but_for_the_driver():
    assert stage("cpu") == [("FROM", "runtime AS cpu")] == INSTRUCTIONS[-1:]
    _, check, environment = stage("cuda")
    assert stage("cuda")[0] == ("FROM", "runtime AS cuda")
    assert "torch.version.cuda" in check[1]
    assert set(re.findall(r"(\w+)=", environment[1])) == {
        "NVIDIA_VISIBLE_DEVICES",
        "NVIDIA_DRIVER_CAPABILITIES",
    }


def test_ray_is_set_as_a_run_sets_it_and_as_recovery_needs_it():
    environment = environment_of_the_image()
    assert ENVIRONMENT.items() <= environment.items()
    assert HEALTH.items() <= environment.items()
    page = (ROOT / "docs" / "RELIABILITY.md").read_text()
    told = dict(re.findall(r"(RAY_health_check_\w+)=(\d+)", page))
    assert told.keys() < HEALTH.keys()
    assert told.items() <= environment.items()


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
    program, target = health_check()
    assert (program, target) == ("motet-probe", "/healthz")
    assert ("COPY", "--chmod=0755 deploy/probe.py /usr/local/bin/motet-probe") in INSTRUCTIONS
    environ = {}
    if token is not None:
        (tmp_path / "token").write_text(token)
        environ["METRICS_TOKEN_FILE"] = str(tmp_path / "token")
    with served() as port:
        done = probed(tmp_path, port, target, **environ)
        assert done.returncode == code, done.stderr
        assert ("401" in done.stderr) is (code == 1)
    done = probed(tmp_path, port, target, **environ)
    assert done.returncode == 1
    assert "refused" in done.stderr


def test_the_token_goes_to_motet_alone(tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    with served() as port:
        done = probed(tmp_path, 1, f":{port}/healthz", METRICS_TOKEN_FILE=str(tmp_path / "token"))
    assert done.returncode == 1
    assert "401" in done.stderr
