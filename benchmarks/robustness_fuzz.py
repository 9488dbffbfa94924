"""Random damage to files and random options: whether each ends with a result, or with one sentence.

A case is a function of its number. Cases run one after the other in a process of their own, which is watched from
outside: it is ended and started again where a case hangs, and its signals are seen.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import noisewise as nw
from noisewise import cli
from robustness_corpus import QUICK_OPTIONS, Rng, copied, damage, images, make_corpus, others

HANGS_S, LONGEST_WAIT_S = 15.0, 180  # of processor time, and of waiting
MOST_MB, WORN_MB = 700, 600
ADDRESS_SPACE = 6 << 30  # bytes that a case may allocate, so that a failure does not stop the machine
FRESH_AFTER = 400  # cases, after which the process is replaced
SHOWN = 40  # failures that are kept in full
IMAGE_SUFFIXES = (".tif", ".tiff", ".png", ".npy", ".zarr", ".jpg")
COMMANDS = ("denoise", "train", "predict", "measure", "calibrate", "simulate", "evaluate", "info")
OPTION = re.compile(r"^ {0,2}│? ?(?:-\w (?:\w+), )?(--[a-z][a-z-]+)(?: (\{[^}]*\}\S*|[A-Z][A-Za-z.]*))?", re.MULTILINE)
VALUES: dict[str, list[str]] = {
    "INT": ["-1", "0", "1", "2", "3", "7", "1.5", "x", "1e3", "999999999999999999999", ""],
    "FLOAT": ["-1", "0", "0.5", "1", "1e-30", "1e30", "nan", "inf", "x", ""],
    "X": ["-1", "0", "0.5", "1", "3", "1e-30", "1e30", "nan", "inf", "x"],
    "N": ["-1", "0", "1", "2", "x", "1.5", "99999999999999999999"],
    "STR": ["", "x", "auto", "cpu", "cuda", "mps", "pixel", "1x3", "010/111/010", "mixed", "1x", "0", "None"],
    "LETTERS": ["YX", "XY", "ZYX", "TYX", "CYX", "TCZYX", "YY", "", "Q", "yx", "SYX", "YXC", "ZZYX", "Y", "?"],
    "TIME": ["0s", "1s", "0.1s", "-1s", "1", "x", "", "1 parsec", "nans", "infs"],
    "FILE": ["GOOD", "MODEL", "NOISE", "missing.tif", "", ".", "/dev/null", "\0", "~nobody/x"],
    "FILE...": ["GOOD", "MODEL", "NOISE", "missing.tif", ""],
    "OUT": ["o.tif", "o.zarr", "o.npy", "o.png", "o.ome.tif", "o", "o/", "o.jpg", "o.gif", "", ".", "/dev/null",
            "in.tif", "no/such/o.tif", "o" * 300 + ".tif", "ø µm.tif", "-"],
    "MODEL": ["m.safetensors", "m", "", "no/m.safetensors", "."],
    "NOISE": ["n.safetensors", "n", "", "."],
    "OUT.png": ["f.png", "f.svg", "f", ""],
    "NAME": ["n2v", "pn2v", "r2r", "n2n", "care", "gap", "sure", "auto", "x", "", "base", "_ladder", "simulated"],
    "KIND": ["nuclei", "mixed", "x", "", "leaves"],
    "PIXELS": ["32x32", "3x32x32", "x", "0x0", "1x1", "-1x5", "32", "1000000x1000000", "32x32x32x32", "1e3x2"],
}  # fmt: skip
LIMITED = {"--steps": ["-1", "0", "1", "2", "x"], "--samples": ["-1", "0", "1", "2", "x"],
           "--frames": ["-1", "0", "2", "x"],
           "--default-steps": ["1", "2"], "--budget": ["0s", "-1s", "x", "1 parsec", ""]}  # fmt: skip


def rng_of(number: int) -> Rng:
    """Random numbers of a case."""
    return np.random.default_rng((20, number))


def one_of(rng: Rng, values: Any) -> Any:
    """A random item."""
    return values[int(rng.integers(len(values)))]


# -- cases -------------------------------------------------------------------------------------------


def case(number: int, corpus: Path, place: Path) -> tuple[list[str], str]:
    """Write the files of a case; returns its arguments and what is special about it."""
    rng = rng_of(number)
    if rng.random() < 0.3:
        return options_case(rng, corpus, place)
    name = one_of(rng, [*images(), *others(), "zarr2_blosc", "zarr3_shards", "state", "model_n2v", "tiff_tiled"])
    given = copied(corpus, name, place)
    how = damage(place, rng)
    return arguments_for(name, given, corpus, place, rng), f"{name} {how}"


def arguments_for(name: str, given: Path, corpus: Path, place: Path, rng: Rng) -> list[str]:
    """A command that reads a damaged file."""
    good, model, file = str(corpus / "tiff/in.tif"), str(corpus / "model_n2v/in.safetensors"), str(given)
    out = str(place / one_of(rng, ("out.tif", "out.tif", "out.zarr", "out.npy", "out.ome.tif")))
    trained = str(place / "out.safetensors")
    choices: list[list[str]] = [["info", file], ["info", file, "--json"]]
    if name == "state":
        train = ["train", "n2v", str(place / "image.tif"), "-o", file, "--resume", *QUICK_OPTIONS]
        choices += [train, train, train, ["predict", file, good, "-o", out]]
    elif name.startswith("model"):
        choices += [["predict", file, good, "-o", out, *one_of(rng, ([], ["--std"], ["--samples", "1"]))]] * 3
    elif name.startswith("noise"):
        choices += [["train", "pn2v", good, "--noise", file, "-o", trained, "--steps", "1", *QUICK_OPTIONS]] * 2
    else:
        predict = ["predict", model, file, "-o", out, *one_of(rng, ([], ["--average", "no"], ["--tile", "16"]))]
        choices += [
            predict, predict, predict, predict, ["measure", file, *one_of(rng, ([], ["--json"]))],
            ["simulate", file, "-o", out, *one_of(rng, ([], ["--photons", "20"]))], ["evaluate", file, good],
            ["train", "n2v", file, "-o", trained, "--steps", "1", *QUICK_OPTIONS],
        ]  # fmt: skip
        if rng.random() < 0.05:
            choices += [["denoise", file, "-o", out, "--steps", "1", "--method", "n2v", "--average", "no"]] * 9
        if name == "recording":
            choices += [["calibrate", file, "-o", trained, "--kind", one_of(rng, ("gaussian", "histogram"))]] * 6
    return list(one_of(rng, choices))


def options_case(rng: Rng, corpus: Path, place: Path) -> tuple[list[str], str]:
    """A command with random options, as its help shows them, on a good image."""
    given = copied(
        corpus, one_of(rng, ("tiff", "ome_tiff", "imagej", "zarr2_zlib", "png", "tiff_rgb", "npy_float")), place
    )
    command, names = one_of(rng, COMMANDS), {
        "GOOD": str(corpus / "tiff/in.tif"), "MODEL": str(corpus / "model_n2v/in.safetensors"),
        "NOISE": str(corpus / "noise_gaussian/in.safetensors"),
    }  # fmt: skip
    methods = ("n2v", "pn2v", "n2n", "r2r", "care", "gap", "sure")
    method = one_of(rng, methods)
    base = {
        "denoise": [str(given), "--method", "n2v", "--steps", "1"], "measure": [str(given)], "info": [str(given)],
        "train": [method, str(given), "--steps", "1"], "predict": [names["MODEL"], str(given)],
        "calibrate": [str(given)], "simulate": [str(given)], "evaluate": [str(given), names["GOOD"]],
    }[command]  # fmt: skip
    if command == "measure":  # its noise model is an output
        names["NOISE"] = "n.safetensors"
    known = options_of(command, method)
    taken: dict[str, list[str]] = {}
    for option in (one_of(rng, sorted(known)) for _ in range(int(rng.integers(1, 5)))):
        taken[option] = value_for(option, known[option], rng, names, place)
    if command == "train":
        taken = dict(zip(QUICK_OPTIONS[::2], ([value] for value in QUICK_OPTIONS[1::2]), strict=True)) | taken
        taken = {name: value for name, value in taken.items() if name in known}
    if command in ("train", "calibrate") and "--output" not in taken and rng.random() < 0.9:
        taken["--output"] = [str(place / "out.safetensors")]
    if rng.random() < 0.03:
        taken[one_of(rng, ("--nonsense", "--", "-q", "--seed=", "-"))] = []
    arguments = [command, *base, *(word for name, value in taken.items() for word in (name, *value))]
    return arguments, f"options of {command}"


def value_for(option: str, kind: str, rng: Rng, names: dict[str, str], place: Path) -> list[str]:
    """Random values of an option."""
    if not kind:
        return []
    choices = [*"".join(kind.split()).strip("{}").replace("}|INT", ",16,0,-1").split(","), "x"]
    values = LIMITED.get(option) or VALUES.get(kind) or (choices if kind.startswith("{") else VALUES["FLOAT"])
    value = names.get(text := one_of(rng, values), text)
    if kind in ("OUT", "MODEL", "NOISE", "OUT.png", "FILE") and value and not value.startswith(("/", "~", "-")):
        value = str(place) + "/" + value
    return [value]


def options_of(command: str, method: str, known: dict[tuple[str, str], dict[str, str]] = {}) -> dict[str, str]:  # noqa: B006
    """Names of the options in the help of a command, with the kinds of their values."""
    key = (command, method if command == "train" else "")
    if key not in known:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            cli.main([command, *([method] if command == "train" else []), "--help"])
        known[key] = {name: kind for name, kind in OPTION.findall(out.getvalue()) if name != "--help"}
    return known[key]


# -- what happened -----------------------------------------------------------------------------------


def contents(*folders: Path) -> dict[str, str]:
    """Checksums of all files in folders."""
    return {
        str(path): hashlib.md5(path.read_bytes()).hexdigest()
        for folder in folders for path in folder.rglob("*") if path.is_file()
    }  # fmt: skip


def run_case(number: int, corpus: Path, keep: Path | None = None) -> dict[str, Any]:
    """Run a case in this process; returns its outcome and what was wrong."""
    with tempfile.TemporaryDirectory(prefix="noisewise-fuzz-") as folder:
        place = keep or Path(folder)
        arguments, about = case(number, corpus, place)
        before = contents(place)
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        out, err, started = io.StringIO(), io.StringIO(), time.perf_counter()
        try:
            with contextlib.chdir(place), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code: int | str = cli.main(arguments)
        except BaseException as error:
            code = f"{type(error).__name__}: {error}"
        found = {"case": number, "about": about, "code": code, "seconds": round(time.perf_counter() - started, 2)}
        faults = faults_of(code, err.getvalue(), before, place)
        peak = memory("VmHWM")
        if peak > MOST_MB:
            faults.append(f"memory: {peak} MB")
        found |= {"peak_mb": peak, "held_mb": memory("VmRSS")}
        if faults:
            found |= {"faults": faults, "arguments": arguments, "stderr": err.getvalue()[-2000:]}
        return found


def memory(what: str) -> int:
    """Resident memory of this process, now (`VmRSS`) or at most (`VmHWM`), MB."""
    return int(re.findall(rf"{what}:\s+(\d+)", Path("/proc/self/status").read_text())[0]) // 1024


def faults_of(
    code: int | str, err: str, before: dict[str, str], place: Path
) -> list[str]:  # fmt: skip
    """What contradicts the contract of the command line."""
    faults = []
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    if code == 1 or not isinstance(code, int):
        faults.append("traceback")
    elif code not in (0, 2, 3):
        faults.append(f"exit code {code}")
    if code == 2 and (len(errors) != 1 or not err.rstrip().endswith(errors[0]) or len(errors[0]) > 700):
        faults.append("not one sentence")
    if "Traceback" in err or "Warning:" in err:
        faults.append("traceback")
    after = contents(place)
    resumed = str(place / "in.safetensors") if code == 0 else ""
    faults += [f"input changed: {path}" for path in before if after.get(path) != before[path] and path != resumed]
    made = sorted({path for path in after if path not in before})
    faults += [f"draft left: {path}" for path in made if ".part" in path or ".old" in path]
    if code == 2:
        faults += [f"output left: {path}" for path in made if ".part" not in path]
    faults += [fault for path in outputs(place, before) if (fault := unreadable(path))]
    return faults


def outputs(place: Path, before: dict[str, str]) -> Iterator[Path]:
    """New images and models."""
    for path in place.rglob("*"):
        inside_old = any(old == str(path) or old.startswith(f"{path}/") for old in before)
        in_zarr = any(parent.suffix == ".zarr" for parent in path.parents)
        if not inside_old and not in_zarr and path.suffix in (*IMAGE_SUFFIXES, ".safetensors") and path.name[0] != ".":
            yield path


def unreadable(path: Path) -> str | None:
    """What is wrong with an output, if anything is."""
    try:
        start = path.read_bytes()[:12] if path.is_file() else b""
        if start[8:10] == b'{"':  # a model, of any name
            from noisewise.container import holds_of, read_container

            read_container(path, holds_of(path))
        elif not start.startswith(b"\x89PNG") or path.suffix == ".png":  # a figure, of any name
            with nw.io.open_source(path) as source:
                pixels = source.read()
            if pixels.shape != source.shape:
                return f"wrong shape: {path}"
    except Exception as error:
        return f"broken output: {path}: {error}"
    return None


# -- a watched process -------------------------------------------------------------------------------


def serve(corpus: Path) -> None:
    """Run the cases whose numbers come on stdin, and print their outcomes."""
    resource.setrlimit(resource.RLIMIT_DATA, (ADDRESS_SPACE, ADDRESS_SPACE))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(run_case(int(line), corpus)) + "\n")
        answers.flush()


def cpu_seconds(process: int) -> float:
    """Processor time of a process, which does not depend on what else the machine does."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Watched:
    """A process that runs cases."""

    def __init__(self, corpus: Path) -> None:
        command = [sys.executable, str(Path(__file__).with_name("robustness.py")), "serve", str(corpus)]
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment()
        )  # fmt: skip
        self.done = self.held = 0

    def run(self, number: int) -> dict[str, Any]:
        """The outcome of a case; a hang or a signal ends the process."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()
        self.done += 1
        end, waited = cpu_seconds(self.process.pid) + HANGS_S, 0
        while not (answered := bool(select.select([self.process.stdout], [], [], 1.0)[0])):
            waited += 1
            if cpu_seconds(self.process.pid) > end or waited > LONGEST_WAIT_S:
                break
        hung = not answered
        if not hung and (line := self.process.stdout.readline()):
            found: dict[str, Any] = json.loads(line)
            self.held = found["held_mb"]
            return found
        self.end()
        how = "hang" if hung else f"signal {-self.process.returncode}"
        self.log.seek(0)
        return {"case": number, "code": how, "faults": [how], "stderr": self.log.read()[-1000:]}

    def __exit__(self, *_: object) -> None:
        self.end()
        self.log.close()

    def __enter__(self) -> Watched:
        return self

    def end(self) -> None:
        """End the process, unless it has ended."""
        try:
            self.process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    @property
    def worn(self) -> bool:
        """Whether the next case gets a fresh process."""
        return self.done >= FRESH_AFTER or self.held > WORN_MB or self.process.poll() is not None


def environment() -> dict[str, str]:
    """Of the process that runs cases: one thread."""
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def fuzz(
    first: int, count: int, seconds: float = float("inf"), keep: Callable[[dict[str, Any]], None] = lambda _: None
) -> dict[str, Any]:
    """Run cases; returns the counts, and the failures.

    seconds: after which no further case begins. keep: called with the counts so far, now and then.
    """
    with tempfile.TemporaryDirectory(prefix="noisewise-corpus-") as folder:
        corpus = Path(folder) / "corpus"
        make_corpus(corpus)
        before, counts, failures = contents(corpus), Counter[str](), []
        number, end = first, float("inf")
        while number < first + count and time.monotonic() < end:
            with Watched(corpus) as watched:
                while not watched.worn and number < first + count and time.monotonic() < end:
                    found = watched.run(number)
                    counts[outcome(found)] += 1
                    counts.update({fault.partition(":")[0].rstrip("0123456789 ") for fault in found.get("faults", ())})
                    if "faults" in found:
                        failures.append(found)
                        print(number, found["faults"], found["stderr"][-300:].strip(), flush=True)
                    if number == first:  # the time to load the libraries does not count
                        end = time.monotonic() + seconds
                    number += 1
                    if number % 100 == 0:
                        print(f"{number}: {dict(counts)}", flush=True)
                        keep(record(first, number, counts, failures))
        if contents(corpus) != before:
            failures.append({"faults": ["input changed: corpus"]})
    return record(first, number, counts, failures)


def record(first: int, end: int, counts: Counter[str], failures: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts and failures of the cases from `first` to before `end`."""
    return {"first": first, "cases": end - first, **summary(counts), "failures": failures[:SHOWN]}


def together(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    """Counts and failures of two successive runs."""
    return {name: one["first"] if name == "first" else one[name] + two[name] for name in two}


def outcome(found: dict[str, Any]) -> str:
    """Whether a case was accepted or refused."""
    return {0: "accepted", 2: "refused", 3: "partly accepted"}.get(found["code"], "failed")


def summary(counts: Counter[str]) -> dict[str, int]:
    """Counts under fixed names."""
    names = ("accepted", "refused", "partly accepted", "traceback", "hang", "signal", "memory", "not one sentence",
             "input changed", "draft left", "output left", "broken output", "wrong shape", "exit code")  # fmt: skip
    return {name.replace(" ", "_"): counts[name] for name in names}


def reproduce(number: int, keep: Path) -> None:
    """Run one case in this process and show everything."""
    shutil.rmtree(keep, ignore_errors=True)
    make_corpus(keep / "corpus")
    (keep / "case").mkdir()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print(json.dumps(run_case(number, keep / "corpus", keep / "case"), indent=1))
