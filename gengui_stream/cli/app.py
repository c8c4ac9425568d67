"""All commands on one screen."""

import typer

from gengui_stream.cli import backfill, config, dead_letters, events, fakes, roles, setup, stack, state, tables

app = typer.Typer(
    name="gengui-stream",
    help="An event-sourced media-generation core: the log, its folds, and the processes around them.",
    epilog="Exit codes: 0 fine, 1 a finding, 2 usage, 69 a server is away, 70 a bug, 78 configuration, 130 Ctrl-C.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in (stack.demo, stack.dev, setup.migrate, setup.seed):
    app.command(rich_help_panel="Begin")(command)
app.add_typer(fakes.app, name="fake", rich_help_panel="Begin")
for command in (roles.api, roles.agents, roles.worker, roles.thumbnails, roles.dispatch, roles.bridge):
    app.command(rich_help_panel="Processes")(command)
for command in (state.lag, state.verify, state.jobs, backfill.backfill_thumbnails):
    app.command(rich_help_panel="Operate")(command)
app.add_typer(config.app, name="config", rich_help_panel="Operate")
app.add_typer(events.app, name="events", rich_help_panel="Operate")
app.add_typer(tables.app, name="tables", rich_help_panel="Operate")
app.add_typer(dead_letters.app, name="dead-letters", rich_help_panel="Operate")
