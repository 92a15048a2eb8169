"""The address of a service: taken before anything is loaded, and answered at once."""

from __future__ import annotations

import asyncio
import socket

import pytest

from raygen.errors import ConfigError
from raygen.serve.listening import bound, is_loopback


def test_a_port_that_is_taken_is_refused_by_name():
    with bound("127.0.0.1", 0) as first:
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(
            ConfigError, match=rf"--host 127.0.0.1 --port {port}: .*choose another with --port"
        ):
            bound("127.0.0.1", port)


def test_answers_do_not_wait_to_be_acknowledged():
    """Else each short answer on a kept connection takes 40 ms more."""

    async def no_delay() -> int:
        found = asyncio.get_running_loop().create_future()

        async def accepted(_, writer):
            taken = writer.get_extra_info("socket")
            found.set_result(taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with bound("127.0.0.1", 0) as listener:
            server = await asyncio.start_server(accepted, sock=listener)
            async with server:
                _, writer = await asyncio.open_connection(*listener.getsockname())
                writer.close()
                return await found

    assert asyncio.run(no_delay())


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("example.org", False)],
)
def test_what_is_reached_from_this_machine_alone(host: str, own: bool):
    assert is_loopback(host) is own
