"""TLS on the way to an endpoint: whom to trust, whom to say one is, and what to do about a certificate that is refused."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from raygen.errors import EngineConfigError

# OpenSSL's X509_V_ERR numbers, as `SSLCertVerificationError.verify_code` has them.
EXPIRED, NOT_YET_VALID = 10, 9
OTHER_HOST, OTHER_ADDRESS = 62, 64
EVERYWHERE = "it has to be on every machine that runs the model"


def tls_context(
    owner: str, ca_file: str | None, client_cert: str | None, client_key: str | None
) -> ssl.SSLContext:
    """Return a context that trusts the system's certificates (SSL_CERT_FILE, SSL_CERT_DIR) and those of `ca_file`.

    Args:
        owner: whose endpoint it is, for messages.

    Raises:
        EngineConfigError: a file is missing, cannot be read, or does not hold what it should.
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        path = _readable(owner, "ca_file", ca_file)
        try:
            context.load_verify_locations(cafile=path)
        except ssl.SSLError:
            raise EngineConfigError(f"{owner}: ca_file {path} holds no certificate in PEM form") from None
    if client_cert is not None:
        path = _readable(owner, "client_cert", client_cert)
        key = None if client_key is None else _readable(owner, "client_key", client_key)
        try:
            context.load_cert_chain(path, key, password=_no_password)
        except _EncryptedKeyError:
            raise EngineConfigError(
                f"{owner}: the key in {key or path} is encrypted; give one without a password"
            ) from None
        except ssl.SSLError:
            raise EngineConfigError(
                f"{owner}: client_cert {path} and its key{'' if key is None else f' {key}'} hold no certificate with "
                "its key in PEM form"
            ) from None
    return context


def certificate_fault(error: Exception, proxied: bool) -> str:
    """Return why a certificate is refused and what to do, for a message."""
    code = getattr(error, "verify_code", None)
    why = getattr(error, "verify_message", None) or str(error)
    if code in (EXPIRED, NOT_YET_VALID):
        remedy = "the endpoint needs a new one, or this machine's clock is wrong"
    elif code in (OTHER_HOST, OTHER_ADDRESS):
        remedy = "base_url has to name the host as the certificate does"
    else:
        whose = (
            "the endpoint's authority (or of the proxy, if it looks into TLS)" if proxied else "its authority"
        )
        remedy = f"to trust it, name the certificate of {whose} in options.ca_file, or in SSL_CERT_FILE"
    named = os.environ.get("SSL_CERT_FILE")
    if named and not os.access(named, os.R_OK):
        remedy += f" (SSL_CERT_FILE names {named}, which cannot be read here)"
    return f"its TLS certificate is refused: {why}; {remedy}"


def _readable(owner: str, option: str, given: str) -> str:
    path = Path(given).expanduser().absolute()
    try:
        with path.open("rb"):
            return str(path)
    except OSError as error:
        raise EngineConfigError(f"{owner}: {option} {path}: {error.strerror}; {EVERYWHERE}") from None


class _EncryptedKeyError(Exception):
    pass


def _no_password() -> str:
    """Stands for OpenSSL's own question on the terminal, at which a run would hang."""
    raise _EncryptedKeyError
