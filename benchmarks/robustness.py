"""Damaged files, strange options, kills and memory: whether the command line keeps its promises.

    python benchmarks/robustness.py fuzz --count 10000     (20 minutes; one process)
    python benchmarks/robustness.py fuzz --case 123 --keep FOLDER     one case again, with its files
    python benchmarks/robustness.py kills --count 64
    python benchmarks/robustness.py memory

fuzz: each case damages a small valid file at random, or gives random options. It must be accepted (with outputs that
can be read), or be refused with one sentence (exit code 2) and leave nothing behind; it may not hang for 15 s, end by a
signal, use more than 700 MB, or change its inputs.

kills: each command is ended by SIGKILL, SIGTERM, SIGINT or SIGHUP at a random time and given again. Its output must be
that of an undisturbed run, bit for bit, and nothing else may be left. memory: see `robustness_memory.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from common import RESULTS, make_parser, write
from robustness_fuzz import fuzz, reproduce, serve, together
from robustness_kills import kills
from robustness_memory import CASES, measured


def run_fuzz(arguments: argparse.Namespace) -> None:
    """Run the cases that the result file lacks, and keep the counts now and then."""
    path = RESULTS / "robustness_fuzz.json"
    before = json.loads(path.read_text()) if path.exists() and not (arguments.dry or arguments.again) else None
    first = arguments.first if before is None else before["first"] + before["cases"]

    def keep(found: dict[str, Any]) -> None:
        write("robustness_fuzz", found if before is None else together(before, found), arguments.dry)

    keep(fuzz(first, arguments.first + arguments.count - first, 60 * arguments.minutes, keep))


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        serve(Path(sys.argv[2]))
        return
    parser = make_parser(__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    fuzzing = commands.add_parser("fuzz")
    fuzzing.add_argument("--first", type=int, default=0)
    fuzzing.add_argument("--count", type=int, default=10_000)
    fuzzing.add_argument("--again", action="store_true", help="also run cases that the result file has")
    fuzzing.add_argument("--minutes", type=float, default=float("inf"))
    fuzzing.add_argument("--case", type=int)
    fuzzing.add_argument("--keep", type=Path, default=Path("fuzz_case"))
    killing = commands.add_parser("kills")
    killing.add_argument("--seed", type=int, default=0)
    killing.add_argument("--count", type=int, default=64)
    commands.add_parser("memory").add_argument("--only", nargs="*", default=list(CASES))
    arguments = parser.parse_args()
    if arguments.what == "fuzz" and arguments.case is not None:
        reproduce(arguments.case, arguments.keep)
    elif arguments.what == "fuzz":
        run_fuzz(arguments)
    elif arguments.what == "kills":
        keep = partial(write, "robustness_kills", dry=arguments.dry)
        keep(kills(arguments.count, arguments.seed, keep=keep))
    else:
        rows = []
        for row in measured(arguments.only):
            print(row, flush=True)
            rows.append(row)
        write("robustness_memory", {"rows": rows}, arguments.dry)


if __name__ == "__main__":
    main()
