"""The command line, `gengui-stream`. Exit codes: `gengui_stream.exit_codes`, and 130 after Ctrl-C."""


def main() -> None:
    """Runs the command that the process was called with, and ends the process."""
    from gengui_stream.cli.app import app

    app(prog_name="gengui-stream")
