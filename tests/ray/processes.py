"""Process trees and their listening sockets, read from /proc (Linux)."""

from __future__ import annotations

import ipaddress
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

LISTEN = "0A"  # the state, in /proc/net/tcp


@dataclass(frozen=True)
class Process:
    """A process as it was when it was looked at; `started` tells it from another one that got its pid later."""

    pid: int
    parent: int
    session: int
    started: int  # clock ticks since boot
    command: str

    def alive(self) -> bool:
        now = read_process(self.pid)
        return now is not None and now.started == self.started

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass


def read_process(pid: int) -> Process | None:
    """None when there is no such process, or only what is left of one."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return None
    state, parent, _, session, *rest = stat.rpartition(")")[2].split()
    if state in "ZX":
        return None
    return Process(pid, int(parent), int(session), int(rest[15]), command.strip())


def all_processes() -> Iterator[Process]:
    for name in os.listdir("/proc"):
        if name.isdigit() and (found := read_process(int(name))) is not None:
            yield found


def descendants(pid: int) -> list[Process]:
    """The processes below `pid`, parents first."""
    children: dict[int, list[Process]] = {}
    for process in all_processes():
        children.setdefault(process.parent, []).append(process)
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += [process.pid for process in below]
    return found


def of_session(session: int) -> list[Process]:
    """The processes of a session (`start_new_session=True`), orphans included."""
    return [process for process in all_processes() if process.session == session]


def end_tree(pid: int) -> None:
    """Kill a process and everything below it; returns when all are gone."""
    root = read_process(pid)
    doomed = ([root] if root else []) + descendants(pid)
    for process in doomed:
        process.kill()
    wait_until(lambda: not any(process.alive() for process in doomed), 30, "a process tree to end")


def listeners(processes: Iterable[Process]) -> list[tuple[Process, str, int]]:
    """(process, address, port) of every listening TCP socket."""
    sockets = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN:
                address, _, port = fields[1].partition(":")
                sockets[fields[9]] = (_address(address), int(port, 16))
    found = []
    for process in processes:
        for inode in _sockets(process.pid):
            if inode in sockets:
                found.append((process, *sockets[inode]))
    return found


def _sockets(pid: int) -> Iterator[str]:
    try:
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return
    for descriptor in descriptors:
        try:
            target = os.readlink(descriptor)
        except OSError:
            continue
        if target.startswith("socket:["):
            yield target[8:-1]


def _address(text: str) -> str:
    """/proc/net prints addresses as 32-bit words in the machine's byte order."""
    words = bytes.fromhex(text)
    return str(ipaddress.ip_address(b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))))


def wait_until(met: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not met():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"waited {timeout_s:g} s for {what}")
        time.sleep(0.05)
