"""`config`: the settings of this directory and environment."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from pydantic import SecretStr

from gengui_stream.cli.options import AsJson
from gengui_stream.cli.output import echo, echo_error, echo_json, echo_table
from gengui_stream.cli.runner import run_inspected_command
from gengui_stream.logging import REDACTED, redact_text
from gengui_stream.process.exit_codes import ExitCode
from gengui_stream.settings import Inspection, Settings
from gengui_stream.settings.advice import advice, remarks
from gengui_stream.settings.secrets.fields import SECRET_FIELDS
from gengui_stream.settings.sources import Variable

app = typer.Typer(help="Validate the settings, and show where each was set.", no_args_is_help=True)


@app.command()
def check(json: AsJson = False) -> None:
    """Check every setting. Exit 78 with all faults at once, else 0 with warnings.

    gengui-stream config check
    """

    def work(inspection: Inspection) -> ExitCode:
        settings = inspection.settings
        warnings = [*remarks(inspection), *(advice(settings) if settings else ())]
        if json:
            echo_json({"valid": settings is not None, "faults": inspection.faults, "warnings": warnings})
        else:
            _echo_findings(inspection, warnings)
        return ExitCode.CONFIGURATION if inspection.faults else ExitCode.OK

    run_inspected_command(work)


def _echo_findings(inspection: Inspection, warnings: list[str]) -> None:
    for fault in inspection.faults:
        echo(f"fault    {fault}")
    for warning in warnings:
        echo(f"warning  {warning}")
    if not inspection.faults:
        echo(f"the settings are valid: {len(inspection.variables)} set, the others have their defaults")


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """`source`: where the value was set. `set_as`: the older name that it was set under."""

    name: str
    value: str | int | float | bool | None
    source: str
    set_as: str | None = None


@app.command()
def show(
    defaults: Annotated[bool, typer.Option("--all", help="Also settings that have their default.")] = False,
    json: AsJson = False,
) -> None:
    """Show each setting, its value and where it was set. Secrets are masked.

    gengui-stream config show --all
    """

    def work(inspection: Inspection) -> ExitCode:
        shown = list(_shown(inspection, defaults=defaults))
        if json:
            echo_json([asdict(one) for one in shown])
        else:
            rows = [
                (one.name, one.value, f"{one.source} as {one.set_as}" if one.set_as else one.source) for one in shown
            ]
            echo_table(("setting", "value", "from"), rows)
        echo_error(*inspection.faults)
        return ExitCode.CONFIGURATION if inspection.faults else ExitCode.OK

    run_inspected_command(work)


def _shown(inspection: Inspection, *, defaults: bool) -> Iterator[ShownSetting]:
    for field in Settings.model_fields:
        name = field.upper()
        variable = inspection.variables.get(name)
        if variable is not None:
            set_as = variable.name if variable.name != name else None
            yield ShownSetting(name, _value(inspection, field, variable), variable.source, set_as)
        elif defaults:
            yield ShownSetting(name, _value(inspection, field, None), "default")


def _value(inspection: Inspection, field: str, variable: Variable | None) -> str | int | float | bool | None:
    """The value in effect; with invalid settings the text as written, and secrets masked whole."""
    if inspection.settings is None:
        text = variable.text if variable else None
        return REDACTED if text is not None and field in SECRET_FIELDS else text
    value: object = getattr(inspection.settings, field)
    match value:
        case SecretStr() as secret:
            return redact_text(secret.get_secret_value()) if field.endswith("_url") else REDACTED
        case None | bool() | int() | float():
            return value
        case _:
            return str(value)
