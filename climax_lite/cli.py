"""`climax-lite`: one command, a table of subcommands. Each is imported when it is called, so that help comes at once."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

COMMANDS = {  # name: (module and function of it, `f(argv) -> exit status`; what it does)
    "data": ("climax_lite.data.download:main", "list, fetch and check archives of weather and climate"),
    "pretrain": ("climax_lite.commands:pretrain", "train a new network on many simulated worlds"),
    "finetune": ("climax_lite.commands:finetune", "adapt a checkpoint to one world"),
    "project": ("climax_lite.commands:project", "train a network for climate projection"),
    "downscale": ("climax_lite.commands:downscale", "train a network for downscaling"),
    "evaluate": ("climax_lite.commands:evaluate", "score checkpoints beside persistence and climatology"),
    "forecast": ("climax_lite.commands:forecast", "make a forecast from a checkpoint and an initial state"),
}

_EXTRAS = {"lightning": "train", "tensorboard": "tensorboard"}
"""Which extra brings a package; all others come with `cloud`."""

_GOES_ON = ("data", "pretrain", "finetune", "project", "downscale")
"""Commands that keep what is done when they are stopped."""


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
        module, _, function = COMMANDS[words[0]][0].partition(":")
        return getattr(importlib.import_module(module), function)(words[1:])
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        extra = _EXTRAS.get(package, "cloud")
        print(
            f"climax-lite {words[0]} needs the package {package}: pip install 'climax-lite[{extra}]'", file=sys.stderr
        )
    except ValueError as error:
        print(f"climax-lite {words[0]}: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        left = "the same command goes on from here" if words[0] in _GOES_ON else "nothing was written"
        print(f"\nstopped: {left}", file=sys.stderr)
        return 130
    return 2


if __name__ == "__main__":
    sys.exit(main())
