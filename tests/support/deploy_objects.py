"""The objects of deploy/kuberay, built once for each folder."""

from __future__ import annotations

from functools import cache
from typing import Any

from deploy_files import DEPLOY
from kustomized import built

ALL = ("overlays/cpu", "overlays/gpu", "overlays/dev", "overlays/autoscale")


@cache
def objects_of(folder: str) -> list[dict[str, Any]]:
    """Built once; nobody here changes them."""
    return built(DEPLOY / "kuberay" / folder)


def of(folder: str, kind: str, name: str = "motet") -> dict[str, Any]:
    [found] = [
        one for one in objects_of(folder) if (one["kind"], one["metadata"]["name"]) == (kind, name)
    ]
    return found


def driver(folder: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The driver's pod and its container."""
    pod = of(folder, "Deployment")["spec"]["template"]["spec"]
    return pod, pod["containers"][0]


def plain_environment(folder: str) -> dict[str, str]:
    """The variables of the driver that are no secret."""
    return {one["name"]: one["value"] for one in driver(folder)[1]["env"] if "value" in one}


def pipeline_file(folder: str) -> str:
    [text] = [one["data"]["lobby.yaml"] for one in objects_of(folder) if one["kind"] == "ConfigMap"]
    return str(text)
