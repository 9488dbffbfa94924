"""Tables of robustness, for `readme.py`."""

from __future__ import annotations

from common import table
from result_files import result, rows


def fuzz() -> str:
    """What became of damaged files and strange options."""
    found = result("robustness_fuzz")
    names = {
        "accepted": "accepted, outputs readable", "refused": "refused with one sentence", "traceback": "tracebacks",
        "hang": "hangs (15 s of processor time)", "signal": "signals", "memory": "more than 700 MB",
        "not_one_sentence": "other messages", "input_changed": "inputs changed", "output_left": "outputs left",
        "draft_left": "drafts left", "broken_output": "outputs broken",
    }  # fmt: skip
    lines = [[label, f"{found[name]:,}"] for name, label in names.items()]
    return "\n".join([
        f"{found['cases']:,} damaged files and random options, each a function of its number "
        "(`benchmarks/robustness.py fuzz`):", "", table([[*line] for line in lines], ["outcome", "cases"]),
    ])  # fmt: skip


def kills() -> str:
    """What became of killed commands."""
    found = result("robustness_kills")
    faults = sum(found[name] for name in found if name.endswith(("output", "result", "run", "changed", "left")))
    return (
        f"{found['commands']} commands (`predict`, `denoise`, `simulate`, `train`, `calibrate`, to TIFF and Zarr) "
        f"were sent SIGKILL, SIGTERM, SIGINT or SIGHUP at a random time, which ended {found['killed']} of them before "
        f"they were done, and given again. In {faults} cases an output was broken, lost or other than that of an "
        "undisturbed run, bit for bit, or a draft was left (`benchmarks/robustness.py kills`)."
    )


def memory() -> str:
    """Peak memory against the plan."""
    lines = [
        [row["image"], f"{row['megapixels']:.0f}", row["task"], row["planned_mb"], row["peak_mb"], row["ratio"]]
        for row in rows("robustness_memory")
    ]
    return "\n".join([
        "Memory of the whole process, MB (`benchmarks/robustness.py memory`):", "",
        table(lines, ["image", "megapixels", "command", "planned", "peak", "ratio"]),
    ])  # fmt: skip
