"""`fake`: servers that stand in for the providers."""

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Annotated, NoReturn, Protocol, TypeAlias, TypeVar

import typer

from gengui_stream.cli.options import AsJson
from gengui_stream.cli.output import echo, echo_json
from gengui_stream.cli.runner import run_sync_command
from gengui_stream.fakes.behaviours import Part
from gengui_stream.fakes.scripts import ScriptError, read_script
from gengui_stream.settings import Settings

Played = TypeVar("Played", bound=Part)

app = typer.Typer(no_args_is_help=True, help="Serve a fake provider, with the faults of a script.")

Port: TypeAlias = Annotated[int, typer.Option(min=0, max=65_535, help="0: any free port.")]
ScriptGiven: TypeAlias = Annotated[str, typer.Option("--script", help="A ready script's name, a file, or JSON.")]
Seed: TypeAlias = Annotated[int | None, typer.Option(min=0, help="Of the random choices in scripts. Default: random.")]
Key: TypeAlias = Annotated[str | None, typer.Option(help="The only API key that is accepted. Default: any.")]
Host: TypeAlias = Annotated[str, typer.Option(help="Address to listen on.")]


class Listening(Protocol):
    """What is printed about a server."""

    @property
    def url(self) -> str: ...

    @property
    def seed(self) -> int: ...


@app.command()
def gemini(
    *,
    port: Port = 0,
    script: ScriptGiven = "calm",
    seed: Seed = None,
    key: Key = None,
    host: Host = "127.0.0.1",
    json: AsJson = False,
) -> None:
    """Serve Gemini's generateContent until Ctrl-C. Prints the base URL and the seed.

    gengui-stream fake gemini --port 8081 --seed 7
    """
    from gengui_stream.fakes.gemini.script import READY, GeminiScript
    from gengui_stream.fakes.gemini.server import fake_gemini

    played, sown = _script(GeminiScript, READY, script), _seed(seed)
    _serve("gemini", lambda _: fake_gemini(played, seed=sown, key=key, host=host, port=port), as_json=json)


@app.command()
def runpod(
    *,
    port: Port = 0,
    script: ScriptGiven = "calm",
    seed: Seed = None,
    key: Key = None,
    host: Host = "127.0.0.1",
    json: AsJson = False,
) -> None:
    """Serve RunPod's endpoints and their workers until Ctrl-C. Images go to the object store of the settings.

    gengui-stream fake runpod --port 8082 --seed 7
    """
    from gengui_stream.fakes.runpod.script import READY, RunpodScript
    from gengui_stream.fakes.runpod.server import fake_runpod

    played, sown = _script(RunpodScript, READY, script), _seed(seed)
    _serve(
        "runpod",
        lambda settings: fake_runpod(played, seed=sown, key=key, host=host, port=port, settings=settings),
        as_json=json,
    )


def _serve(
    name: str, opened: Callable[[Settings], AbstractAsyncContextManager[Listening]], *, as_json: bool
) -> NoReturn:
    """Runs like a role, and prints its URL once it listens."""
    import uvloop

    from gengui_stream.bootstrap import run_until_stopped
    from gengui_stream.logging import configure_logging

    async def serve(settings: Settings, stop: asyncio.Event) -> None:
        async with opened(settings) as server:
            found = {"provider": name, "url": server.url, "seed": server.seed}
            echo_json(found) if as_json else echo(f"{server.url} is {name}, seed {server.seed}")
            await stop.wait()

    def work(settings: Settings) -> int:
        configure_logging(settings, f"fake-{name}")
        return uvloop.run(run_until_stopped(serve, f"fake-{name}", settings))

    run_sync_command(work)


def _script(kind: type[Played], ready: Mapping[str, Played], given: str) -> Played:
    try:
        return read_script(kind, ready, given)
    except ScriptError as error:
        raise typer.BadParameter(str(error), param_hint="--script") from None


def _seed(given: int | None) -> int:
    return random.randrange(2**32) if given is None else given
