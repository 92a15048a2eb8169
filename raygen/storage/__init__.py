"""Storage: local paths and S3 behind one small interface.

A `Store` is a prefix (a directory, or `s3://bucket/prefix`) under which objects live by key. Only s3.py and
s3_errors.py import boto3 (and botocore); they are loaded when the first s3:// URI is opened.

Contract: a reader sees an object complete or not at all; what must exist once is created by create.py and by nothing else.
Start reading: base.py, then create.py and sealed.py.
"""

from raygen.storage.arrow import arrow_filesystem
from raygen.storage.base import ObjectInfo, Store
from raygen.storage.local import LocalStore
from raygen.storage.uris import digest_input, find_inputs, open_store, split_uri

__all__ = [
    "LocalStore",
    "ObjectInfo",
    "Store",
    "arrow_filesystem",
    "digest_input",
    "find_inputs",
    "open_store",
    "split_uri",
]
