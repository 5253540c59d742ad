"""`python -m tools.simulate run NAME` makes a world, `embed` packs a part of it into `data/`, `list` says which there are."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import subprocess
import sys
import time
from pathlib import Path

from .checks import Refused
from .world import World, find, names

GENERATED = Path(__file__).parents[2] / "data" / "generated"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.simulate", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the worlds, each after those that it needs")
    run = commands.add_parser("run", help="integrate worlds; goes on where an earlier run was stopped")
    run.add_argument("worlds", nargs="*", help="world files, or names of those in tools/simulate/worlds (default: all)")
    run.add_argument("--years", type=int, help="how many years (default: as the world file says)")
    run.add_argument("--jobs", type=int, default=1, help="how many worlds side by side, one thread each (default: 1)")
    embed = commands.add_parser("embed", help="check a world that has run, pack years of it, list them in the registry")
    embed.add_argument("world", help="a world file or a name; 'scenarios' packs the scenario runs that have finished")
    embed.add_argument("--years", type=int, nargs="+", help="which years, such as 1985 1986 (default: the first)")
    days = {"type": dt.date.fromisoformat, "nargs": 2, "metavar": ("FIRST", "LAST")}
    embed.add_argument(
        "--days", **days, help="instead of whole years: first and last day, such as 1987-02-15 1987-06-15"
    )
    check = commands.add_parser("check", help="check a world that has run: finite, bounds, drift")
    check.add_argument("world", help="a world file or a name")
    for command in (run, embed, check):
        command.add_argument(
            "--generated", type=Path, default=GENERATED, help="where worlds are kept (default: data/generated)"
        )
    args = parser.parse_args()
    try:
        if args.command == "list":
            for name in names():
                world = find(name)
                print(f"{name:14} T{world.truncation} {world.years:3} years  {world.title}")
        elif args.command == "run":
            _run({name: find(name) for name in args.worlds or names()}, args)
        elif args.command == "check":
            from .embed import check as inspect

            world = find(args.world)
            print(f"{world.name}: {inspect(world, args.generated / world.name)}")
        elif args.world == "scenarios":
            from .embed import embed_scenarios

            print(embed_scenarios(args.generated))
        else:
            from .embed import embed as pack

            world = find(args.world)
            years = args.years or [world.start.year]
            for first, last in [args.days] if args.days else [(dt.date(y, 1, 1), dt.date(y, 12, 31)) for y in years]:
                print(pack(world, args.generated / world.name, first, last))
    except (OSError, ValueError, TypeError) as error:
        parser.error(str(error))


def _run(given: dict[str, World], args: argparse.Namespace) -> None:
    """One world in this process, several as processes of one thread each; a world waits for those that it needs."""
    if len(given) == 1:
        from .run import run

        (world,) = given.values()
        run(world, args.generated / world.name, args.years)
        return
    files = {world.name: name for name, world in given.items()}
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    flags = os.environ.get("XLA_FLAGS", "")
    environment["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1".strip()
    waiting, running, done, failed = list(given.values()), {}, set(), set()
    while waiting or running:
        for world in [w for w in waiting if failed & set(w.needs)]:
            print(f"{world.name}: not run, since it needs {', '.join(failed & set(world.needs))}")
            waiting.remove(world)
            failed.add(world.name)
        ready = [w for w in waiting if not (set(w.needs) & set(files)) - done]
        for world in ready[: max(args.jobs - len(running), 0)]:
            command = [
                sys.executable,
                "-m",
                "tools.simulate",
                "run",
                files[world.name],
                "--generated",
                str(args.generated),
            ]
            if args.years is not None:
                command += ["--years", str(args.years)]
            running[world.name] = subprocess.Popen(command, env=environment)
            waiting.remove(world)
        for name, process in list(running.items()):
            if process.poll() is not None:
                del running[name]
                (failed if process.returncode else done).add(name)
        time.sleep(0.5)
    if failed:
        raise Refused(f"these worlds did not finish: {', '.join(sorted(failed))}; what is wrong stands above")


main()
