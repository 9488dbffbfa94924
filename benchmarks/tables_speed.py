"""Tables of speed, for `readme.py`."""

from __future__ import annotations

from common import table
from result_files import result


def speed() -> str:
    """Training and prediction against CAREamics; start-up time and size of the installation."""
    found = result("speed")
    best = found["best"]
    rows = []
    for key, label in (
        ("train_steps_per_s", "training, steps per second (16 patches of 64 x 64)"),
        ("predict_whole_512_mpx_per_s", "prediction, 512 x 512, megapixels per second"),
        ("predict_tiled_2048_mpx_per_s", "prediction, 2048 x 2048 tiled, megapixels per second"),
    ):
        peer, classic, fast = (best[who][key] for who in ("careamics", "classic", "fast"))
        rows.append([label, peer, classic, f"{classic / peer:.1f} x", fast, f"{fast / peer:.1f} x"])
    classic, machine = best["classic"], found["machine"]
    start, installed = found["start_up"], result("install")["rows"][0]
    return "\n".join([
        table(rows, ["", "CAREamics 0.3.5", "same U-Net here", "", "default network here", ""]), "",
        f"{machine['threads']} threads, {machine['vector']}, torch {machine['torch']}. The same U-Net reaches",
        f"{classic['train_gflops']:.0f} GFLOP/s in training and {classic['predict_gflops']:.0f} in",
        f"prediction; the fastest matrix product on this processor reaches {found['matrix_peak_gflops']:.0f}.",
        f"`import noisewise` takes {1e3 * (start['import_s'] - start['python_s']):.0f} ms and `noisewise",
        f"--help` {1e3 * start['help_s']:.0f} ms. Besides torch, {installed['packages']} packages with",
        f"{installed['megabytes']:.0f} MB are installed.",
    ])  # fmt: skip


def first_result() -> str:
    """Time to the first result, and speed of the packaged network."""
    found = result("first_result")
    return (
        f"On two cores ({found['machine']['vector']}), `noisewise denoise --budget 5s --std` writes the first result "
        f"for 512 x 512 pixels {found['first_result_s']:.1f} s after\nthe command; `import torch` and one pass of the "
        f"network take {found['import_torch_s'] + found['one_pass_s']:.1f} s of it. The packaged network needs "
        f"{2048**2 / 1e6 / found['prior_mpx_per_s']:.1f} s for 2048 x 2048 pixels: {found['prior_mpx_per_s']:.2f} "
        f"megapixels per second (as\nmany operations in a matrix product: {found['floor_mpx_per_s']:.2f}), "
        f"and {found['among_planes_mpx_per_s']:.2f} in a stack. The network of before reaches "
        f"{found['before_mpx_per_s']:.2f} in the same run. The "
        f"process uses at most {found['peak_memory_mb'] / 1e3:.1f} GB (`benchmarks/first_result.py`)."
    )


def installed() -> str:
    """Packages, megabytes, and seconds to import and to print the help."""
    found = result("install")
    rows = [
        [
            row["name"], row["packages"], *(f"{row[key]:.0f}" for key in ("megabytes", "bytecode_mb")),
            f"{row['import_s']:.2f}", "–" if row["help_s"] is None else f"{row['help_s']:.2f}",
        ]
        for row in found["rows"]
    ]  # fmt: skip
    largest = ", ".join(f"{name} {size:.0f}" for name, size in found["rows"][0]["largest"].items())
    header = ["", "packages", "MB", "MB of bytecode", "import of `denoise` or `CAREamist`, s", "`--help`, s"]
    return "\n".join([
        "Installed beyond torch, each into an empty environment (`benchmarks/install.py`); bytecode is what Python",
        "caches of packages when they are installed. Seconds are those of whole processes, less that of Python:", "",
        table(rows, header), "",
        f"The largest of noisewise, in MB: {largest}. imagecodecs reads compressed TIFF, numcodecs is that of Zarr;",
        "matplotlib with fonttools and pillow draw reports, and are imported by them alone.",
    ])  # fmt: skip
