"""`climax-lite`: one command, a table of subcommands. Each is imported when it is called, so that help comes at once."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

COMMANDS = {  # name: (module with a function `main(argv) -> exit status`, what it does)
    "data": ("climax_lite.data.download", "list, fetch and check archives of weather and climate"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Returns:
        The exit status: 0, or 2 after one sentence on standard error about what the user can change, or 130 when interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] == "--version":
        from importlib.metadata import version

        print(f"climax-lite {version('climax-lite')}")
        return 0
    if not words or words[0] in ("-h", "--help"):
        print("usage: climax-lite COMMAND ...\n")
        print(*(f"  {name:12}{title}" for name, (_, title) in COMMANDS.items()), sep="\n")
        print("\nclimax-lite COMMAND --help tells more.")
        return 0 if words else 2
    if words[0] not in COMMANDS:
        print(f"climax-lite: expected one of {', '.join(COMMANDS)}, got {words[0]!r}", file=sys.stderr)
        return 2
    try:
        return importlib.import_module(COMMANDS[words[0]][0]).main(words[1:])
    except ImportError as error:
        print(
            f"climax-lite {words[0]} needs the package {error.name}: pip install 'climax-lite[cloud]'", file=sys.stderr
        )
    except ValueError as error:
        print(f"climax-lite {words[0]}: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nstopped: the same command goes on from here", file=sys.stderr)
        return 130
    return 2


if __name__ == "__main__":
    sys.exit(main())
