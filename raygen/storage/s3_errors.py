"""What an error of boto3 means for us. Its text is never used: it may quote the request."""

from __future__ import annotations

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from raygen.errors import AccessError, ConfigError, KeyNotFoundError, StorageError, UnknownResultError

S3_ERRORS = (boto.ClientError, boto.BotoCoreError, ResponseParserError)
BROKEN_BODY_ERRORS = (
    boto.IncompleteReadError,
    boto.HTTPClientError,
    boto.FlexibleChecksumError,
    HTTPError,  # of urllib3: botocore lets some through while a body is read
)
CREDENTIAL_ERRORS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.NoAuthTokenError,
    boto.SSOError,
    boto.ProfileNotFound,
    boto.ConfigParseError,
    boto.ConfigNotFound,
)
ACCESS_CODES = {
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidBucketName",
    "InvalidToken",
    "PermanentRedirect",
    "TokenRefreshRequired",
}  # those that do not come with 401 or 403
# A write refused with one of these may be sent again: the bytes changed, or stopped, on their way.
PASSING_CODES = {"BadDigest", "RequestTimeout", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}


class PreconditionFailedError(StorageError):
    """412: the key is taken, or the object is not the one that was opened."""


class RangeNotSatisfiableError(StorageError):
    """416: the range starts behind the end of the object."""


def no_bucket(where: str, bucket: str, endpoint: str) -> AccessError:
    """Return the error for a bucket that does not exist."""
    return AccessError(
        f"{where}: no bucket {bucket!r} at {endpoint}; create it, or check its name, `storage.endpoint_url` "
        "(or AWS_ENDPOINT_URL) and `storage.region`"
    )


def explain(error: Exception, action: str, where: str, bucket: str, endpoint: str, writes: bool) -> Exception:
    """Return the error of ours for one of S3_ERRORS.

    Args:
        action: what was tried, for the message: "read".
        where: the URI of the object.
        writes: the request was a write, whose fate may be unknown now.
    """
    if isinstance(error, CREDENTIAL_ERRORS):
        return AccessError(
            f"cannot {action} {where}: no usable credentials ({type(error).__name__}); set AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE or `storage.profile` to a profile of ~/.aws"
        )
    if isinstance(error, boto.ParamValidationError):
        return ConfigError(f"cannot {action} {where}: S3 allows no such bucket name or key")
    if not isinstance(error, boto.ClientError):
        kind = UnknownResultError if writes else StorageError
        return kind(f"cannot {action} {where}: no usable answer from {endpoint} ({type(error).__name__})")
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = str(error.response.get("Error", {}).get("Code", status))
    if code == "NoSuchBucket":
        return no_bucket(where, bucket, endpoint)
    # HEAD gets a 400 without a code for an expired token or another region.
    if status in (401, 403) or code in ACCESS_CODES or (status == 400 and code == "400"):
        return AccessError(
            f"cannot {action} {where}: {endpoint} answers {code}; check credentials and region, and that "
            "they allow it (without s3:ListBucket, a missing object is refused like this too)"
        )
    if status == 404:
        return KeyNotFoundError(f"{where}: no such object")
    if status == 412:
        return PreconditionFailedError(f"{where} changed while it was read")
    if status == 416:
        return RangeNotSatisfiableError(f"{where}: the range is behind the end of the object")
    passing = status in (408, 409, 429) or (status >= 500 and status != 501) or code in PASSING_CODES
    kind = UnknownResultError if writes and passing else StorageError
    return kind(f"cannot {action} {where}: {endpoint} answers {code} (HTTP {status})")
