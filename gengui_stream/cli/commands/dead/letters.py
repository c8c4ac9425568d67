"""`dead-letters`: events that could not be folded, and the events parked behind them."""

import typer

from gengui_stream.cli.commands.dead.letter_listing import export, list_letters, show
from gengui_stream.cli.commands.dead.letter_resolving import discard, retry

app = typer.Typer(help="Events that could not be folded.", no_args_is_help=True)
app.command("list")(list_letters)
app.command()(show)
app.command()(export)
app.command()(retry)
app.command()(discard)
