"""`python -m gengui_stream.cli`."""

from gengui_stream.cli import main

if __name__ == "__main__":
    main()
