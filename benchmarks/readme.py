"""Fill the README's benchmark tables from benchmarks/results/*.json.

python benchmarks/readme.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from common import RESULTS, table

README = Path(__file__).parents[1] / "README.md"


def speed() -> str:
    result = json.loads((RESULTS / "speed.json").read_text())
    best = result["best"]
    rows = []
    for key, label in (
        ("train_steps_per_s", "training, steps a second (16 patches of 64 x 64)"),
        ("predict_whole_512_mpx_per_s", "prediction, 512 x 512, megapixels a second"),
        ("predict_tiled_2048_mpx_per_s", "prediction, 2048 x 2048 tiled, megapixels a second"),
    ):
        peer, classic, fast = (best[who][key] for who in ("careamics", "classic", "fast"))
        rows.append([label, peer, classic, f"{classic / peer:.1f} x", fast, f"{fast / peer:.1f} x"])
    classic = best["classic"]
    start, foot = result["start_up"], result["footprint"]
    return "\n".join(
        [
            table(rows, ["", "CAREamics 0.3.5", "same U-Net here", "", "default network here", ""]),
            "",
            f"{result['machine']['threads']} threads, {result['machine']['vector']}, "
            f"torch {result['machine']['torch']}. "
            f"The same U-Net reaches {classic['train_gflops']:.0f} GFLOP/s in training and "
            f"{classic['predict_gflops']:.0f} in prediction, "
            f"where the processor's best matrix product has {result['matrix_peak_gflops']:.0f}.",
            f"`import noisewise` takes {1e3 * (start['import_s'] - start['python_s']):.0f} ms and `noisewise --help` "
            f"{1e3 * start['help_s']:.0f} ms; beyond torch, {foot['packages']} packages with "
            f"{foot['megabytes']:.0f} MB are installed.",
        ]
    )


def quality() -> str:
    result = json.loads((RESULTS / "quality_fmd.json").read_text())
    columns = {
        "noisy": "noisy", "careamics_60s": "CAREamics N2V, 60 s", "careamics_300s": "CAREamics N2V, 300 s",
        "vst_bm3d_oracle": "VST+BM3D, told the noise", "n2v": "`n2v`, 60 s",
    }  # fmt: skip
    rows = [[row["condition"].replace("_", " "), *(row[c] for c in columns)] for row in result["rows"]]
    rows.insert(6, ["**mean of these six**", *(result["white_mean"][c] for c in columns)])
    return (
        "PSNR in dB (range 255) on the Fluorescence Microscopy Denoising data: one image of 512 x 512 at a time, the "
        "truth (mean of 50) never seen, two processor cores.\n\n"
        + table(rows, ["", *columns.values()])
        + "\n\nWide-field images of this set have noise that is correlated between pixels; "
        "`n2v` takes such noise for signal and makes these images worse. Do not use it on them."
    )


def main() -> None:
    text = README.read_text()
    for name, made in (("speed", speed()), ("quality", quality())):
        block = f"<!-- benchmark:{name} -->\n{made}\n<!-- end -->"
        text = re.sub(rf"<!-- benchmark:{name} -->(.*?<!-- end -->)?", lambda _, b=block: b, text, flags=re.S)
    README.write_text(text)


if __name__ == "__main__":
    main()
