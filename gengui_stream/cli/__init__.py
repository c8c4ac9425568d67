"""The command line, `gengui-stream`. Exit codes: `gengui_stream.process.exit_codes`, and 130 after Ctrl-C."""


def main() -> None:
    """Runs the command of this process's arguments, and ends the process."""
    import sys

    try:
        from gengui_stream.cli.app import command_line

        command_line(sys.argv[1:])(prog_name="gengui-stream")
    except KeyboardInterrupt:  # while modules are imported: later each command handles it
        sys.exit(130)
