from __future__ import annotations

import ipaddress
import socket

from raygen.serve.cluster.sockets import exposed, listeners


def listening(host: str, family: int = socket.AF_INET) -> socket.socket:
    found = socket.socket(family)
    found.bind((host, 0))
    found.listen()
    return found


def test_a_listener_on_loopback_is_found_and_not_exposed() -> None:
    with listening("127.0.0.1") as mine:
        here = (ipaddress.ip_address("127.0.0.1"), mine.getsockname()[1])
        assert here in listeners()
        assert here not in exposed(listeners())


def test_a_listener_on_all_interfaces_is_exposed_in_both_families() -> None:
    with listening("0.0.0.0") as four, listening("::", socket.AF_INET6) as six:
        ports = {port for _, port in exposed(listeners())}
        assert {four.getsockname()[1], six.getsockname()[1]} <= ports


def test_a_closed_or_another_process_s_listener_is_not_this_one_s() -> None:
    with listening("127.0.0.1") as mine:
        port = mine.getsockname()[1]
        assert port not in {each for _, each in listeners(pid=1)}
    assert port not in {each for _, each in listeners()}
