"""How the projections stand."""

import typer


def lag() -> None:
    """To come."""
    raise typer.Exit(70)


def verify() -> None:
    """To come."""
    raise typer.Exit(70)


def jobs() -> None:
    """To come."""
    raise typer.Exit(70)
