"""Templates: the jobs and recipes that come with raygen, to be written into a directory of one's own and changed there.

There is one copy of each: `jobs/` of the repository, which a wheel carries as `raygen/jobs/` (setup.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from raygen.errors import UserError

# What a template needs of the others: the data that it reads, and the recipe of a model that it uses.
_NEEDED = re.compile(r"(?:uri: |raygen train )(jobs/[\w/]+\.\w+)")


@dataclass(frozen=True)
class Template:
    """A job or a recipe that comes with raygen.

    Attributes:
        name: the file's name without `.yaml`.
        kind: `job` or `recipe`.
        path: where it is written, below the directory of one's own: `jobs/NAME.yaml`.
        summary: its first line, a sentence.
        notes: its other lines at the top: what it needs, and how to get that.
    """

    name: str
    kind: str
    path: str
    summary: str
    notes: tuple[str, ...]

    @property
    def command(self) -> str:
        """Return the command that starts it."""
        return f"raygen {'train' if self.kind == 'recipe' else 'run'} {self.path}"


def templates() -> dict[str, Template]:
    """Return all templates by name, jobs first. Raises UserError: they were not installed."""
    root = _root()
    found = {}
    for path in [*sorted(root.glob("*.yaml")), *sorted(root.glob("recipes/*.yaml"))]:
        comments = []
        for line in path.read_text("utf-8").splitlines():
            if not line.startswith("#"):
                break
            comments.append(line.lstrip("# "))
        kind = "recipe" if path.parent.name == "recipes" else "job"
        written = f"jobs/{path.relative_to(root).as_posix()}"
        found[path.stem] = Template(path.stem, kind, written, comments[0], tuple(comments[1:]))
    if not found:
        raise UserError(f"this installation of raygen came without templates ({root} is missing)")
    return found


def write_template(name: str, directory: Path) -> tuple[Template, list[Path], list[Path]]:
    """Write a template and what it needs of the others below `directory`, at the paths that they have in the repository.

    Returns:
        The template, the files that were written, and those that were there already, with the same contents.

    Raises:
        UserError: no template of that name, or a file of other contents is in the way: nothing is written then.
    """
    known = templates()
    if name not in known:
        raise UserError(f"no template {name!r}; templates: {', '.join(known)}")
    texts: dict[Path, bytes] = {}
    for path in (known[name].path, *_NEEDED.findall(_read(known[name].path).decode())):
        texts[directory / path] = _read(path)
    present = [path for path in texts if path.exists()]
    changed = [path for path in present if not path.is_file() or path.read_bytes() != texts[path]]
    if changed:
        raise UserError(
            f"{changed[0]} is there already and is not as the template has it; it is left alone, and nothing is written. "
            "Move it away, or choose another directory with --to"
        )
    written = [path for path in texts if path not in present]
    for path in written:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(texts[path])
    return known[name], written, present


def _read(path: str) -> bytes:
    return (_root() / path.removeprefix("jobs/")).read_bytes()


def _root() -> Path:
    """Return the folder of the templates: in the package, or beside it in a clone of the repository."""
    package = Path(__file__).parent
    return package / "jobs" if (package / "jobs").is_dir() else package.parent / "jobs"
