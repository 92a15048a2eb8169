"""A proxy on loopback that lets requests through and swallows the answers to some of them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


class SwallowingProxy:
    """Args:
    url: of the server behind it.
    swallow: of each path's POSTs so many answers are lost.

    Attributes:
        swallowed: the paths whose answers were lost, in order.
    """

    def __init__(self, url: str, swallow: int) -> None:
        self._port, self._swallow = urlsplit(url).port, swallow
        self.swallowed: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self._port))
        request = client.recv(65536)
        path = request.split(b" ", 2)[1].decode()
        lost = request.startswith(b"POST") and self.swallowed.count(path) < self._swallow
        server.sendall(request)
        threading.Thread(target=_pump, args=(client, server), daemon=True).start()
        if lost:
            server.recv(65536)  # the answer: it is done
            self.swallowed.append(path)
            for each in (client, server):
                _hang_up(each)
            return
        _pump(server, client)


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    _hang_up(target)


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


@contextmanager
def swallowing(url: str, swallow: int) -> Iterator[SwallowingProxy]:
    """Run a proxy for the length of a `with`."""
    proxy = SwallowingProxy(url, swallow)
    try:
        yield proxy
    finally:
        proxy.close()
