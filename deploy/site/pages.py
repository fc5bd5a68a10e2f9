"""Hooks of mkdocs: pages of the site that stand outside docs/, and links that lead there.

README.md is the front page, CHANGELOG.md and LICENSE are pages, and docs/schemas gets a list.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# as the files have the links, and as the site has them
README_LINKS = {"](docs/schemas)": "](schemas/index.md)", "](docs/": "]("}
DOCS_LINKS = {"](../README.md": "](index.md"}


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File

    generated = {
        "index.md": _linked((ROOT / "README.md").read_text("utf-8"), README_LINKS),
        "CHANGELOG.md": _linked((ROOT / "CHANGELOG.md").read_text("utf-8"), README_LINKS),
        "LICENSE": (ROOT / "LICENSE").read_text("utf-8"),
        "schemas/index.md": _schemas(ROOT / "docs" / "schemas"),
    }
    for path, content in generated.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_given: Any) -> str:
    return markdown if page.file.src_uri == "index.md" else _linked(markdown, DOCS_LINKS)


def _linked(text: str, links: dict[str, str]) -> str:
    for written, shown in links.items():
        text = text.replace(written, shown)
    return text


def _schemas(folder: Path) -> str:
    head = ["# JSON Schemas", "", "Of every `--json` output and of what stands on topics.", ""]
    listed = (
        f"- [{path.name}]({path.name}): {json.loads(path.read_bytes())['title']}"
        for path in sorted(folder.glob("*.json"))
    )
    return "\n".join([*head, *listed]) + "\n"
