"""The proxy on the way to an endpoint, as the usual environment variables name it. No I/O."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from raygen.errors import EngineConfigError

PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy, and who named it."""

    url: str = field(repr=False)  # with user and password
    name: str  # without: for messages
    host: str
    variable: str
    secrets: tuple[str, ...] = field(repr=False)  # what no message may hold

    def __str__(self) -> str:
        return f"the proxy {self.name} ({self.variable})"


def proxy_of(url: str, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy to reach a URL by; None: reach it directly.

    `http_proxy` or `https_proxy` by the URL's scheme, else `all_proxy`; `no_proxy` holds exceptions. Small letters
    win over capitals; an empty variable means no proxy. A loopback address is never reached through a proxy: it
    would be the proxy's own.

    Raises EngineConfigError: the variable names a SOCKS proxy, or no proxy at all.
    """
    target = urlsplit(url)
    host, port = target.hostname or "", target.port or PORTS[target.scheme]
    if _is_loopback(host):
        return None
    variable = _first(environ, f"{target.scheme}_proxy") or _first(environ, "all_proxy")
    if variable is None or not environ[variable].strip():
        return None
    exceptions = _first(environ, "no_proxy")
    if exceptions is not None and _excepted(host, port, environ[exceptions]):
        return None
    return _read(variable, environ[variable].strip(), host)


def _first(environ: Mapping[str, str], name: str) -> str | None:
    return next((variable for variable in (name, name.upper()) if variable in environ), None)


def _read(variable: str, value: str, target: str) -> Proxy:
    remedy = f"set it to http://HOST:PORT, or except {target} in NO_PROXY, or say options.proxy: none"
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise EngineConfigError(f"environment variable {variable} holds no proxy's URL; {remedy}") from None
    if parts.scheme.startswith("socks"):
        raise EngineConfigError(
            f"environment variable {variable} names a SOCKS proxy ({parts.scheme}://), which is not supported; {remedy}"
        )
    if parts.scheme not in PORTS or not host:
        raise EngineConfigError(f"environment variable {variable} holds no proxy's URL; {remedy}")
    place = f"[{host}]" if ":" in host else host
    name = f"{parts.scheme}://{place}:{port or PORTS[parts.scheme]}"
    return Proxy(_with_user(name, parts), name, host, variable, _secrets(parts))


def _with_user(name: str, parts: SplitResult) -> str:
    user = parts.netloc.rpartition("@")[0]
    return name.replace("://", f"://{user}@", 1) if user else name


def _secrets(parts: SplitResult) -> tuple[str, ...]:
    if parts.password is None:
        return ()
    user, password = unquote(parts.username or ""), unquote(parts.password)
    sent = base64.b64encode(f"{user}:{password}".encode()).decode()
    return (f"{parts.username}:{parts.password}@", parts.password, password, sent)


def _is_loopback(host: str) -> bool:
    address = _address(host)
    if address is not None:
        return address.is_loopback or address.is_unspecified
    return host == "localhost" or host.endswith(".localhost")


def _excepted(host: str, port: int, exceptions: str) -> bool:
    """Say whether `no_proxy` holds a host: a name and all below it, an address, a network, each with a port or without.

    Names are not looked up: an address in the list excepts URLs that hold that address.
    """
    address = _address(host)
    for entry in exceptions.replace(",", " ").lower().split():
        if entry == "*":
            return True
        name, its_port = _split_port(entry)
        if its_port is not None and its_port != port:
            continue
        if address is not None:
            network = _network(name)
            if network is not None and address in network:
                return True
            continue
        name = name.removeprefix("*").removeprefix(".").rstrip(".")
        if name and (host.rstrip(".") == name or host.rstrip(".").endswith(f".{name}")):
            return True
    return False


def _split_port(entry: str) -> tuple[str, int | None]:
    if entry.startswith("["):
        name, _, port = entry[1:].partition("]")
        port = port.removeprefix(":")
    elif entry.count(":") == 1:
        name, _, port = entry.partition(":")
    else:  # an IPv6 address without brackets has no port
        name, port = entry, ""
    return name, int(port) if port.isdecimal() else None


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
