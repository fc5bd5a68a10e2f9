"""The documentation as a site (``make docs``): every page has its place, and links outside work."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import yaml
from documents import ROOT

SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
GENERATED = {"index.md", "CHANGELOG.md", "schemas/index.md"}


def pages_of(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in pages_of(part)]


@pytest.fixture(scope="module")
def hooks():
    [path] = SITE["hooks"]
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_stands_in_the_navigation_once():
    there = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert sorted(pages_of(SITE["nav"])) == sorted(there | GENERATED)


def test_the_front_page_is_the_readme_with_links_into_the_site(hooks):
    page = hooks._linked((ROOT / "README.md").read_text("utf-8"), hooks.README_LINKS)
    assert "](docs/" not in page
    assert "](PIPELINE.md)" in page
    assert "](schemas/index.md)" in page


def test_the_list_of_schemas_has_all_of_them(hooks):
    folder = ROOT / "docs" / "schemas"
    listed = hooks._schemas(folder)
    assert all(f"[{path.name}]({path.name}): " in listed for path in folder.glob("*.json"))
