"""Source: where rows come from, and how their store is reached."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from raygen.config.base import Frozen


class StorageOptions(Frozen):
    """How to reach S3. Credentials never stand in a job: boto3's environment, profile and role rules apply."""

    endpoint_url: str | None = Field(
        None, description="of a store other than AWS, such as https://minio.example:9000"
    )
    region: str | None = Field(None, description="the region of the bucket")
    profile: str | None = Field(None, description="a profile of the credentials file")


class Csv(Frozen):
    """How CSV files are written, if not as RFC 4180 has it."""

    delimiter: str = Field(",", description='one character between fields: ",", ";", "|", "\\t"')
    escape: str | None = Field(
        None, description='a character that stands before quotes in quoted fields, as Spark writes it: "\\\\"'
    )
    header: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(
        None, min_length=1, description="names of the columns of files whose first line is a row"
    )

    @field_validator("delimiter")
    @classmethod
    def _one_sign(cls, delimiter: str) -> str:
        if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n':
            raise ValueError(
                'one ASCII character, such as ",", ";", "|" or "\\t" (in double quotes); no quote, no line break'
            )
        return delimiter

    @field_validator("escape")
    @classmethod
    def _one_escape(cls, escape: str | None) -> str | None:
        if escape is not None and (len(escape) != 1 or not escape.isascii() or escape in '"\r\n'):
            raise ValueError('one ASCII character, such as "\\\\"; quotes that are doubled need none')
        return escape

    @model_validator(mode="after")
    def _two_signs(self) -> Csv:
        if self.escape == self.delimiter:
            raise ValueError("delimiter and escape are two different characters")
        return self


class Source(Frozen):
    """Where rows come from: files of one format, on disk or in object storage."""

    format: str = Field(
        description="what the files hold: parquet, jsonl, csv, webdataset, text, images; or a format of another package"
    )
    uri: str | list[str] = Field(description="a path, a glob, a folder or s3://bucket/key; or a list of them")
    key: str | None = Field(
        None,
        description="the column whose value is the row_id, or a path into one (meta.id); unique over the whole source",
    )
    csv: Csv | None = Field(None, description="of format csv: how the files are written")
    max_rows: int | None = Field(
        None, ge=1, description="only the first rows, counted over all files; unset: all"
    )
    max_line_bytes: int = Field(
        16 * 2**20, ge=1024, le=2**30, description="a longer line fails its row (`line_too_long`)"
    )
    max_media_bytes: int = Field(
        64 * 2**20, ge=1024, le=2**31, description="a larger file fails its row (`media_too_large`)"
    )
    max_media_pixels: int = Field(
        50_000_000, ge=1, description="a picture of more pixels fails its row (`media_too_large`)"
    )
    storage: StorageOptions = StorageOptions()

    @property
    def uris(self) -> list[str]:
        return [self.uri] if isinstance(self.uri, str) else list(self.uri)

    @field_validator("uri")
    @classmethod
    def _not_empty(cls, uri: str | list[str]) -> str | list[str]:
        if not uri or (isinstance(uri, list) and not all(uri)):
            raise ValueError("name at least one path")
        return uri

    @model_validator(mode="after")
    def _csv_is_of_csv(self) -> Source:
        if self.csv is not None and self.format != "csv":
            raise ValueError(f"csv: only of format csv, not {self.format}")
        return self
