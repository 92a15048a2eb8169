"""The commands `raygen keys` and `raygen usage`."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from raygen.cli.options import Json, print_json, say
from raygen.errors import UserError

keys_app = typer.Typer(help="Keys of a service: make, list and revoke them.", no_args_is_help=True)
Place = Annotated[
    str, typer.Option("--store", metavar="URI", help="the service's store: a path or s3://bucket/prefix")
]
DAY_S = 86400


@keys_app.command("add")
def add(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="whose files, batches and usage they are")],
    store: Place = "service",
    scopes: Annotated[
        str, typer.Option("--scopes", help="what it may: inference, files, batches, admin")
    ] = "inference,files,batches",
    models: Annotated[
        str | None, typer.Option("--models", help="names that it may use; all if unset")
    ] = None,
    rpm: Annotated[int | None, typer.Option("--rpm", min=1, help="requests a minute")] = None,
    tpm: Annotated[int | None, typer.Option("--tpm", min=1, help="tokens a minute")] = None,
    in_flight: Annotated[int | None, typer.Option("--in-flight", min=1, help="requests at once")] = None,
    monthly_tokens: Annotated[
        int | None, typer.Option("--monthly-tokens", min=1, help="tokens a calendar month")
    ] = None,
    days: Annotated[float | None, typer.Option("--days", min=0, help="it expires after so many")] = None,
) -> None:
    """Make a key and print it: the only time that it is shown."""
    from raygen.serve.config import Limits
    from raygen.serve.tenants.keys import add_key
    from raygen.storage import open_store

    limits = Limits(rpm=rpm, tpm=tpm, in_flight=in_flight, monthly_tokens=monthly_tokens)
    key = add_key(
        open_store(store),
        tenant,
        scopes=[each.strip() for each in scopes.split(",") if each.strip()],
        models=None if models is None else [each.strip() for each in models.split(",")],
        limits=None if limits == Limits() else limits,
        expires_s=None if days is None else int(time.time() + days * DAY_S),
    )
    say("keep it: it is shown this once")
    typer.echo(key)


@keys_app.command("list")
def list_all(store: Place = "service", as_json: Json = False) -> None:
    """Show all keys, without their secrets."""
    from raygen.serve.tenants.keys import list_keys
    from raygen.storage import open_store

    found = list(list_keys(open_store(store)))
    if as_json:
        print_json(
            [
                {
                    "id": each.id,
                    "tenant": each.tenant,
                    "scopes": each.scopes,
                    "models": each.models,
                    "limits": None if each.limits is None else each.limits.model_dump(exclude_none=True),
                    "created_s": each.created_s,
                    "expires_s": each.expires_s,
                    "revoked": each.revoked,
                }
                for each in found
            ]
        )
        return
    if not found:
        say(f"{store} holds no keys; raygen keys add TENANT makes one")
    for each in found:
        made = datetime.fromtimestamp(each.created_s, UTC).strftime("%Y-%m-%d")
        state = "  revoked" if each.revoked else ""
        typer.echo(f"{each.id}  {each.tenant}  {','.join(each.scopes)}  since {made}{state}")


@keys_app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="as `raygen keys list` shows it")],
    store: Place = "service",
) -> None:
    """Let a key work no more, within 15 seconds."""
    from raygen.serve.tenants.keys import revoke_key
    from raygen.storage import open_store

    revoke_key(open_store(store), key_id)
    say(f"{key_id} is revoked")


def usage(
    store: Place = "service",
    tenant: Annotated[str | None, typer.Option("--tenant", help="all if unset")] = None,
    month: Annotated[str | None, typer.Option("--month", help="such as 2026-12; this one if unset")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="the service's file: for its store and its prices")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what tenants of a service used in a month: requests, amounts by unit, and money where prices are known."""
    from raygen.serve.config import load_service
    from raygen.serve.tenants.ledger import read_usage, tenants_in, usage_record
    from raygen.storage import open_store
    from raygen.usage import UNITS

    month = datetime.now(UTC).strftime("%Y-%m") if month is None else month
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", month, re.ASCII):
        raise UserError(f"--month {month}: a month is a year and a number, such as 2026-12")
    service = None if config is None else load_service(config)
    place = open_store(store) if service is None else open_store(service.store, service.storage)
    found = {
        each: usage_record(
            read_usage(place, each, month), lambda name: None if service is None else service.models.get(name)
        )
        for each in ([tenant] if tenant else tenants_in(place))
    }
    if as_json:
        print_json(found)
        return
    if not any(found.values()):
        say(f"nothing was used in {month}")
    for name, models in found.items():
        for model, line in models.items():
            amounts = [
                UNITS[unit].words(n) if unit in UNITS else f"{n:g} {unit}"
                for unit, n in line["usage"].items()
            ]
            money = f"  {line['cost']:.4f} {line['currency']}" if "cost" in line else ""
            typer.echo(f"{name}  {model}  {line['requests']:,} requests  {', '.join(amounts)}{money}")
