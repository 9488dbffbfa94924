"""Commands that are killed at random times and given again: whether anything is lost, broken or left."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from safetensors.numpy import load_file

import noisewise as nw
from robustness_corpus import QUICK_OPTIONS, image
from robustness_fuzz import contents, cpu_seconds, environment

SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
EARLIEST_S = 0.5
STANDSTILL_S = 60.0
MOST_TRIALS = 3  # commands for each that is to be hit: some end before
SIDE = 384


@dataclass
class Job:
    """A command, its output, and what an undisturbed run gave: how long it took, and the output's arrays."""

    name: str
    arguments: list[str]
    output: str
    again: list[str] = field(default_factory=list)
    seconds: float = 0.0
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def jobs(steps: int = 60) -> list[Job]:
    """Commands in a folder with `image.tif`, `movie.tif` and `model.safetensors`."""
    made = []
    for suffix in (".tif", ".zarr"):
        out = f"out{suffix}"
        predict = ["predict", "model.safetensors", "image.tif", "-o", out, "--tile", "64", "--average", "yes"]
        denoise = ["denoise", "image.tif", "--method", "n2v", "--steps", str(steps // 4), "-o", out, "--average", "no"]
        made += [
            Job(f"predict {suffix}", predict, out), Job(f"denoise {suffix}", denoise, out),
            Job(f"simulate {suffix}", ["simulate", "image.tif", "-o", out, "--frames", "40"], out),
        ]  # fmt: skip
    train = ["train", "n2v", "image.tif", "-o", "out.safetensors", "--steps", str(steps), *QUICK_OPTIONS]
    calibrate = ["calibrate", "movie.tif", "-o", "out.safetensors", "--kind", "mixture"]
    return [
        *made, Job("train", train, "out.safetensors", ["--resume"]), Job("calibrate", calibrate, "out.safetensors"),
    ]  # fmt: skip


def prepare(folder: Path) -> None:
    """Write the files that the commands read."""
    folder.mkdir(parents=True)
    tifffile.imwrite(folder / "image.tif", image(SIDE, SIDE), compression="zlib")
    tifffile.imwrite(folder / "movie.tif", image(10, 96, 96), metadata={"axes": "TYX"})
    command(
        ["train", "n2v", "image.tif", "-o", "model.safetensors", "--steps", "2", *QUICK_OPTIONS], folder
    ).communicate()


def command(arguments: list[str], folder: Path) -> subprocess.Popen[str]:
    """The command, started as a user would."""
    return subprocess.Popen(
        [sys.executable, "-m", "noisewise", *arguments], cwd=folder, env=environment(), text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=heed_signals,
    )  # fmt: skip


def heed_signals() -> None:
    """As in a terminal: a benchmark that runs in the background may ignore some, and its children would too."""
    for name in SIGNALS[1:]:
        signal.signal(getattr(signal, name), signal.SIG_DFL)


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a process and return its messages; one that uses no processor time any more is killed."""
    used, messages = -1.0, ""
    while True:
        try:
            return messages + process.communicate(timeout=STANDSTILL_S)[1]
        except subprocess.TimeoutExpired:
            before, used = used, cpu_seconds(process.pid)
            if used - before < 0.01 * STANDSTILL_S:
                process.kill()
                messages = "hang: "


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    """The pixels of an image, or the tensors of a model or noise model."""
    if path.suffix == ".safetensors":
        return load_file(path)
    with nw.io.open_source(path) as source:
        return {"pixels": source.read()}


def equal(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> bool:
    """Whether arrays are the same, bit for bit."""
    return one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)


def kill(job: Job, kind: str, fraction: float, inputs: Path, place: Path) -> dict[str, Any]:
    """Kill a command after a fraction of its usual time, and give it again; returns what was wrong."""
    shutil.copytree(inputs, place)
    before, output = contents(place), place / job.output
    process, hung, started = command(job.arguments, place), False, time.monotonic()
    try:
        process.communicate(timeout=EARLIEST_S + fraction * max(job.seconds - EARLIEST_S, 0))
        job.seconds = min(job.seconds, time.monotonic() - started)  # the machine was busier before
    except subprocess.TimeoutExpired:
        process.send_signal(getattr(signal, kind))
        hung = finish(process).startswith("hang")
    faults = ["hang"] if hung else []
    if process.returncode == 1:
        faults.append("traceback")
    if output.exists() and not (job.again or equal(arrays_of(output), job.arrays)):
        faults.append("broken output")
    complete = output.exists() and not job.again
    again = command([*job.arguments, *job.again], place)
    stderr = finish(again)
    if stderr.startswith("hang"):
        faults.append("hang")
    if again.returncode != (2 if complete else 0):
        faults.append(f"second run: exit code {again.returncode}")
    if not output.exists():
        faults.append("no output")
    elif not equal(arrays_of(output), job.arrays):
        faults.append("another result")
    after = contents(place)
    faults += ["input changed" for path in before if after.get(path) != before[path]]
    faults += [f"draft left: {path.name}" for path in place.rglob(".*") if path.suffix in (".part", ".old")]
    how = "was not hit" if process.returncode == 0 else "killed"
    shutil.rmtree(place)
    return {"job": job.name, "signal": kind, "fraction": round(fraction, 3), "how": how, "faults": faults,
            **({"stderr": stderr[-500:]} if faults else {})}  # fmt: skip


def kills(
    count: int,
    seed: int = 0,
    steps: int = 60,
    only: Sequence[int] = (),
    keep: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Kill commands at random times until `count` were hit before they ended; returns the counts, and the failures.

    only: numbers of the `jobs`; default all, one after the other. keep: called with the counts so far after each.
    """
    chosen = [jobs(steps)[number] for number in only or range(len(jobs()))]
    rng, counts, failures = np.random.default_rng(seed), Counter[str](), []
    by_job: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory(prefix="noisewise-kills-") as folder:
        inputs = Path(folder) / "inputs"
        prepare(inputs)
        ready: dict[str, Job] = {}
        number = 0
        while counts["killed"] < count and number < MOST_TRIALS * count:
            job = chosen[number % len(chosen)]
            if job.name not in ready:
                reference = Path(folder) / "reference"
                shutil.copytree(inputs, reference)
                started = time.monotonic()
                process = command(job.arguments, reference)
                process.communicate()
                assert process.returncode == 0, job.name
                job.seconds, job.arrays = time.monotonic() - started, arrays_of(reference / job.output)
                shutil.rmtree(reference)
                ready[job.name] = job
            kind = SIGNALS[int(rng.integers(len(SIGNALS)))]
            found = kill(ready[job.name], kind, rng.uniform(0.0, 1.0), inputs, Path(folder) / f"case{number}")
            counts.update([found["how"], *(fault.partition(":")[0] for fault in found["faults"])])
            by_job.setdefault(job.name, Counter()).update([found["how"]])
            if found["faults"]:
                failures.append({"case": number, **found})
                print(json.dumps(failures[-1]), flush=True)
            number += 1
            keep(record(seed, number, counts, by_job, failures))
    return record(seed, number, counts, by_job, failures)


def record(
    seed: int, count: int, counts: Counter[str], by_job: dict[str, Counter[str]], failures: list[dict[str, Any]]
) -> dict[str, Any]:
    """Counts under fixed names, and the failures."""
    names = ("killed", "was not hit", "hang", "traceback", "broken output", "second run", "no output", "another result",
             "input changed", "draft left")  # fmt: skip
    return {"seed": seed, "commands": count, **{name.replace(" ", "_"): counts[name] for name in names},
            "by_job": {name: dict(values) for name, values in by_job.items()}, "failures": failures}  # fmt: skip
