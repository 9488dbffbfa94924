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

import sys
from pathlib import Path

from common import make_parser, write
from robustness_fuzz import fuzz, reproduce, serve
from robustness_kills import kills
from robustness_memory import CASES, measured


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        serve(Path(sys.argv[2]))
        return
    parser = make_parser(__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    fuzzing = commands.add_parser("fuzz")
    fuzzing.add_argument("--first", type=int, default=0)
    fuzzing.add_argument("--count", type=int, default=10_000)
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
        found = fuzz(arguments.first, arguments.count, 60 * arguments.minutes)
        print({name: value for name, value in found.items() if name != "failures"})
        write("robustness_fuzz", found, arguments.dry)
    elif arguments.what == "kills":
        killed = kills(arguments.count, arguments.seed)
        print({name: value for name, value in killed.items() if name != "failures"})
        write("robustness_kills", killed, arguments.dry)
    else:
        rows = []
        for row in measured(arguments.only):
            print(row, flush=True)
            rows.append(row)
        write("robustness_memory", {"rows": rows}, arguments.dry)


if __name__ == "__main__":
    main()
