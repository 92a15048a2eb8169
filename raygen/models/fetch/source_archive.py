"""Source archive: one archive of a package's sources, fetched with pip's own index, network and settings, but never built.

`pip download` runs a source archive's setup code to learn what it is called. So this module, run as a program of its own, does
what pip does up to the download and stops there. pip promises nothing about its inner parts: few of them are used.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from raygen.errors import SourceError

MAX_ARCHIVE_BYTES = 256 * 2**20


def fetch_source_archive(package: str, version: str, target: Path) -> None:
    """Write the source archive of a package to `target`, from where pip would take it. Runs none of it.

    Raises:
        SourceError: no such archive, or no way to it; says what pip said.
    """
    command = [sys.executable, "-m", "raygen.models.fetch.source_archive", package, version, str(target)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()] or [
        f"exit code {done.returncode}"
    ]
    raise SourceError(
        f"pip cannot fetch the source archive of {package}=={version}: {said[-1]}; check pip's index and the network"
    )


def _main(package: str, version: str, target: Path) -> None:
    from pip._internal.commands.download import DownloadCommand
    from pip._vendor.packaging.specifiers import SpecifierSet

    pip = DownloadCommand("download", "")
    options, _ = pip.parse_args(["--quiet", "--no-input", "--no-deps", "--no-binary=:all:"])
    with pip.main_context():
        session = pip.get_default_session(options)
        finder = pip._build_package_finder(options, session)
        found = finder.find_best_candidate(package, SpecifierSet(f"=={version}")).best_candidate
        if found is None:
            raise SystemExit("there is none in the index")
        # The archive is compressed already; what a server compresses again would be unpacked on the way.
        with session.get(
            found.link.url_without_fragment, headers={"Accept-Encoding": "identity"}, stream=True
        ) as answer:
            answer.raise_for_status()
            size_bytes = 0
            with target.open("wb") as file:
                for piece in answer.iter_content(2**20):
                    size_bytes += len(piece)
                    if size_bytes > MAX_ARCHIVE_BYTES:
                        raise SystemExit(f"it has more than {MAX_ARCHIVE_BYTES} bytes")
                    file.write(piece)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
