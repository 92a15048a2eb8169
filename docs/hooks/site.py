"""What mkdocs does beside its own: fill in the reference, bring the root's pages and linked files along, keep the site offline.

Pages link to files of the repository by relative paths, so that they work where the repository is browsed. Here a link to a
page leads to the page, and one to any other file to a copy of it below `source/`.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from reference import filled

ROOT = Path(__file__).parents[2]
OUTSIDE = {
    "README.md": "readme.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(?:https?:)?//"""
    r"""|<link\b[^>]*rel=["']?(?:stylesheet|preconnect|preload)["']?[^>]*href=["']?(?:https?:)?//"""
)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the repository's root."""
    for name, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Fill in what is generated, and lead links where they lead in the site."""
    here = page.file.src_uri
    original = next((name for name, there in OUTSIDE.items() if there == here), f"docs/{here}")
    markdown = filled(markdown)

    def led(link: re.Match[str]) -> str:
        target, mark = link[2], link[3] or ""
        if re.match(r"[a-z]+:", target):
            return link[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(original), target))
        return (
            link[1]
            + posixpath.relpath(_in_site(path, config, files), posixpath.dirname(here) or ".")
            + mark
            + link[4]
        )

    return LINK.sub(led, markdown)


def _in_site(path: str, config: Any, files: Files) -> str:
    """Return where a file of the repository is in the site; one that is no page is copied."""
    if path in OUTSIDE:
        return OUTSIDE[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    copy = f"source/{path}.txt"
    if copy not in files.src_uris:
        if not (ROOT / path).is_file():
            raise PluginError(f"a link leads to {path}, which is no file")
        files.append(File.generated(config, copy, content=(ROOT / path).read_bytes()))
    return copy


def on_post_build(config: Any) -> None:
    """Refuse a site that loads anything from elsewhere."""
    for path in Path(config.site_dir).rglob("*.html"):
        found = LOADED.search(path.read_text())
        if found:
            raise PluginError(f"{path} loads something from elsewhere: {found[0]}")
