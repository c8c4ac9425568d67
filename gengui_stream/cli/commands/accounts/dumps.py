"""`accounts`: the users and their keys as an encrypted file, and back."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from cryptography.fernet import Fernet

from gengui_stream.accounts.account_dump import dump_accounts, load_accounts
from gengui_stream.cli.options import AsJson
from gengui_stream.cli.output import echo, echo_json
from gengui_stream.cli.runner import run_command
from gengui_stream.errors import ConfigurationError, PermanentError
from gengui_stream.postgres.pool import opened_pool
from gengui_stream.process.private_files import opened_private
from gengui_stream.settings import Settings

app = typer.Typer(help="Users and API keys, which are not in the log, as an encrypted file.", no_args_is_help=True)

STDOUT = Path("-")


@app.callback()
def _accounts() -> None: ...


@app.command("new-key")
def new_key() -> None:
    """Print a new value for ACCOUNTS_DUMP_KEY. Keep it where the dumps are not.

    gengui-stream accounts new-key
    """
    echo(Fernet.generate_key().decode())


@app.command("dump")
def dump(file: Annotated[Path, typer.Argument(help="A new file, or - for stdout.")], json: AsJson = False) -> None:
    """Write users, keys and idempotency keys to a file, encrypted with ACCOUNTS_DUMP_KEY.

    gengui-stream accounts dump accounts-2026-11-29.dump
    """

    async def work(settings: Settings) -> None:
        key = _key(settings)
        async with opened_pool(settings, size=1) as pool:
            if file == STDOUT:
                async for line in dump_accounts(pool, key):
                    sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
                return
            with _refusals(file), opened_private(file) as output:
                async for line in dump_accounts(pool, key):
                    output.write(line)
        size = file.stat().st_size
        echo_json({"file": str(file), "bytes": size}) if json else echo(f"{file}: {size:,} bytes")

    run_command(work)


@app.command("load")
def load(file: Annotated[Path, typer.Argument(help="Of `accounts dump`.")], json: AsJson = False) -> None:
    """Insert the users and keys of a file that the tables lack; those that are there stay as they are.

    gengui-stream accounts load accounts-2026-11-29.dump
    """

    async def work(settings: Settings) -> None:
        key = _key(settings)
        async with opened_pool(settings, size=1) as pool:
            with _refusals(file), file.open("rb") as lines:
                loaded = await load_accounts(pool, key, lines)
        if json:
            echo_json(loaded)
        else:
            echo(", ".join(f"{table} {count:,}" for table, count in loaded.items()) or "none")

    run_command(work)


def _key(settings: Settings) -> str:
    if settings.accounts_dump_key is None:
        raise ConfigurationError(["ACCOUNTS_DUMP_KEY: needed here; `gengui-stream accounts new-key` prints a new one"])
    return settings.accounts_dump_key.get_secret_value()


@contextmanager
def _refusals(file: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise PermanentError(f"{file} is there already: name a new file") from error
    except OSError as error:
        raise PermanentError(f"{file}: {error.strerror}") from error
