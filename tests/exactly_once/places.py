"""Places: where a run under test is stored, seen from outside, object by object."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from raygen.config.source import StorageOptions
from tests.fakes.fault_s3 import FaultS3


class Place(Protocol):
    uri: str
    storage: StorageOptions

    def objects(self) -> dict[str, bytes]:
        """Everything that is stored, by key from the run's top."""
        ...

    def fill(self, objects: dict[str, bytes]) -> None:
        """Store objects, past every failpoint."""
        ...

    def remove(self) -> None: ...


@dataclass
class Directory:
    path: Path
    storage: StorageOptions = field(default_factory=StorageOptions)

    @property
    def uri(self) -> str:
        return str(self.path)

    def objects(self) -> dict[str, bytes]:
        """Half-written files, which a killed process leaves, are no objects."""
        found = [
            each for each in self.path.rglob("*") if each.is_file() and not each.name.startswith(".tmp-")
        ]
        return {each.relative_to(self.path).as_posix(): each.read_bytes() for each in found}

    def fill(self, objects: dict[str, bytes]) -> None:
        for key, data in objects.items():
            (self.path / key).parent.mkdir(parents=True, exist_ok=True)
            (self.path / key).write_bytes(data)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


@dataclass
class Bucket:
    """A prefix in FaultS3's bucket; the server runs in this process."""

    server: FaultS3
    prefix: str

    @property
    def uri(self) -> str:
        return f"s3://bucket/{self.prefix}"

    @property
    def storage(self) -> StorageOptions:
        return StorageOptions(endpoint_url=self.server.endpoint_url, region="us-east-1")

    def objects(self) -> dict[str, bytes]:
        top = f"{self.prefix}/"
        return {k.removeprefix(top): data for k, data in self.server.objects().items() if k.startswith(top)}

    def fill(self, objects: dict[str, bytes]) -> None:
        for key, data in objects.items():
            self.server.memory.put("bucket", f"{self.prefix}/{key}", data, {}, False)

    def remove(self) -> None:
        self.server.memory.delete("bucket", [f"{self.prefix}/{key}" for key in self.objects()])
