"""The documents: their fenced blocks, and what stands between backticks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from pipeline.spec import PipelineSpec, loads

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    page: Path
    language: str
    body: str


BLOCKS = [Block(page, *found) for page in PAGES for found in FENCE.findall(page.read_text("utf-8"))]


def blocks(page: Path, language: str) -> list[str]:
    return [block.body for block in BLOCKS if (block.page, block.language) == (page, language)]


def block_with(page: Path, words: str) -> str:
    """The one block of a page that has these words in it."""
    [found] = [block.body for block in BLOCKS if block.page == page and words in block.body]
    return found


def each(*languages: str) -> list[Any]:
    """Every block of these languages, as a parameter named after its page."""
    found = [block for block in BLOCKS if block.language in languages]
    return [pytest.param(b, id=f"{b.page.name}-{number}") for number, b in enumerate(found)]


def inlines(page: Path) -> list[str]:
    """What stands between backticks outside of blocks; a line break inside is a space."""
    text = FENCE.sub("", page.read_text("utf-8"))
    return [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", text)]


def loaded(page: Path, body: str, folder: Path) -> PipelineSpec:
    """A whole pipeline file, or a part of one laid over the page's first, which is whole."""
    (folder / "kafka.password").write_text("secret\n")
    tree = yaml.safe_load(body)
    if "version" not in tree:
        tree = _overlaid(yaml.safe_load(blocks(page, "yaml")[0]), tree)
    return loads(yaml.safe_dump(tree, sort_keys=False), folder=folder, environ={})


def _overlaid(base: Any, part: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(part, dict):
        return part
    return {**base, **{key: _overlaid(base.get(key), value) for key, value in part.items()}}
