"""A hook of mkdocs: the pages at the root of the repository are pages of the site, too, and links lead there.

In the repository a page lies in docs/ or above it, and links are those that GitHub follows. On the site README.md is
the first page (docs/README.md, the list of pages, is its navigation), and whatever else is linked is copied.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from posixpath import dirname, normpath, relpath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
FIRST = "README.md"
PAGES = (FIRST, "CONTRIBUTING.md", "CHANGELOG.md", "config/README.md")
"""What the site shows of the repository beside docs/."""

# A link of Markdown, or the source of an image: where it leads, without the anchor.
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)[^)#\s]+")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and files that do not lie in docs/."""
    files.remove(files.src_uris["README.md"])
    for page in PAGES:
        files.append(File.generated(config, _on_site(page), content=(ROOT / page).read_text(encoding="utf-8")))
    texts = [*(ROOT / page for page in PAGES), *(ROOT / "docs").glob("*.md")]
    for text in texts:
        for target in LINK.findall(text.read_text(encoding="utf-8")):
            path = normpath(os.path.relpath(text.parent / target, ROOT))
            if (ROOT / path).is_file() and _on_site(path) not in files.src_uris:
                files.append(File.generated(config, _on_site(path), abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Lead the links of a page to where their targets are on the site; a folder is not there, and stays a word."""
    site = page.file.src_uri
    here = next((path for path in PAGES if _on_site(path) == site), f"docs/{site}")

    def led(found: re.Match[str]) -> str:
        path = normpath(f"{dirname(here)}/{found.group()}".lstrip("/"))
        return relpath(_on_site(path), dirname(site) or ".")

    folders = re.compile(r"\[([^\]]+)\]\((?![a-z]+:|#)([^)#\s]+)\)")
    kept = folders.sub(
        lambda found: f"`{found[1]}`" if (ROOT / dirname(here) / found[2]).is_dir() else found[0], markdown
    )
    return LINK.sub(led, kept)


def _on_site(path: str) -> str:
    """Return where a file of the repository is on the site."""
    return "index.md" if path == FIRST else path.removeprefix("docs/")
