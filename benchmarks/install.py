"""What an installation costs: packages and megabytes beyond torch, and seconds to import and to print the help.

    python benchmarks/install.py --folder FOLDER            (a quarter of an hour; environments are kept in FOLDER)

noisewise, as the wheel of this source, and CAREamics, each with pip into an environment of its own that has torch for
the processor already; of CAREamics without torchvision, whose releases belong to other versions of torch (`peer.py`
says what stands for it). Times are the least of five whole processes, less that of Python itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import make_parser, write

ROOT = Path(__file__).parents[1]
TORCH = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
PEER = ("-r", "benchmarks/peer-requirements.txt"), ("--no-deps", "careamics==0.3.5")
STUB = """
import sys, types
import lightning.pytorch, torchmetrics  # which look whether there is a torchvision
for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
    made = sys.modules[name] = types.ModuleType(name)
    made.__version__, made.__path__ = "0.26.0", []
"""
IMPORTS = {"noisewise": "from noisewise import denoise", "careamics": STUB + "from careamics import CAREamist"}
REPEATS = 5
LIST = """
import importlib.metadata as m, json, os
found = {}
for d in m.distributions():
    files = [str(d.locate_file(f)) for f in d.files or []]
    sizes = [(f.endswith(".pyc"), os.path.getsize(f) / 1e6) for f in files if os.path.isfile(f)]
    found[d.metadata["Name"].lower()] = [sum(s for cached, s in sizes if cached == kind) for kind in (False, True)]
print(json.dumps(found))
"""


def pip(environment: Path, *arguments: str) -> None:
    """Install into an environment."""
    command = [environment / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*map(str, command), *arguments], check=True, cwd=ROOT)


def sizes(environment: Path) -> dict[str, list[float]]:
    """Megabytes of each package: its files, and the bytecode that Python caches."""
    found: dict[str, list[float]] = json.loads(
        subprocess.run([environment / "bin/python", "-c", LIST], check=True, capture_output=True, text=True).stdout
    )
    return found


def install(environment: Path, steps: Sequence[Sequence[str]]) -> dict[str, list[float]]:
    """Megabytes of the packages that are installed beyond torch."""
    record = environment / "torch.json"
    if not record.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
        pip(environment, TORCH)
        before = list(sizes(environment))
        for step in steps:
            pip(environment, *step)
        record.write_text(json.dumps(before))
    before = json.loads(record.read_text())
    return {name: size for name, size in sizes(environment).items() if name not in before}


def least(*command: str | Path) -> float:
    """Seconds of the fastest of some whole processes."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return min(times)


def measured(name: str, environment: Path, found: dict[str, list[float]]) -> dict[str, Any]:
    """One row of the table."""
    python, script = environment / "bin/python", environment / "bin" / name
    idle = least(python, "-c", "pass")
    largest = sorted(((part, files) for part, (files, _) in found.items()), key=lambda item: -item[1])[:8]
    return {
        "name": name, "packages": len(found),
        "megabytes": sum(files for files, _ in found.values()),
        "bytecode_mb": sum(cached for _, cached in found.values()),
        "import_s": least(python, "-c", IMPORTS[name]) - idle,
        "help_s": least(script, "--help") - idle if script.exists() else None,
        "largest": dict(largest),
    }  # fmt: skip


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".install"))
    parser.add_argument("--no-peers", action="store_true")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, "."], check=True, cwd=ROOT)
    wheel = max(folder.glob("noisewise-*.whl"), key=lambda path: path.stat().st_mtime)
    wanted = {"noisewise": [(str(wheel),)]} | ({} if arguments.no_peers else {"careamics": PEER})
    installed = {name: install(folder / name, what) for name, what in wanted.items()}
    rows = [measured(name, folder / name, found) for name, found in installed.items()]
    print(json.dumps(rows, indent=1))
    write("install", {"wheel_mb": wheel.stat().st_size / 1e6, "rows": rows}, arguments.dry)


if __name__ == "__main__":
    main()
