"""`python -m tools.simulate run WORLD.toml --years 2` makes a world; `embed` packs a part of it into `data/`."""

from __future__ import annotations

import argparse
from pathlib import Path

from .world import World

HERE = Path(__file__).parent
GENERATED = HERE.parents[1] / "data" / "generated"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.simulate", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="integrate a world; goes on where an earlier run was stopped")
    embed = commands.add_parser(
        "embed", help="regrid and pack years of a world that has run, and list them in the registry"
    )
    for command in (run, embed):
        command.add_argument("world", help="a world file, or the name of one in tools/simulate/worlds")
        command.add_argument(
            "--generated", type=Path, default=GENERATED, help="where worlds are kept (default: data/generated)"
        )
    run.add_argument("--years", type=int, help="how many years (default: as the world file says)")
    embed.add_argument("--years", type=int, nargs="+", required=True, help="which years, such as 1985 1986")
    args = parser.parse_args()

    path = Path(args.world)
    try:
        world = World.read(path if path.suffix == ".toml" else HERE / "worlds" / f"{path}.toml")
    except (OSError, ValueError, TypeError) as error:
        parser.error(str(error))
    folder = args.generated / world.name
    if args.command == "run":
        from .run import run as integrate

        integrate(world, folder, args.years)
    else:
        from .embed import embed as pack

        for year in args.years:
            print(pack(world, folder, year))


main()
