"""How well: PSNR on real images with truth, each image by itself, the truth never seen.

    python benchmarks/quality.py --suite fmd --budget 60            (about 10 minutes)
    python benchmarks/quality.py --suite fmd --budget 60 --peer     (CAREamics too: 45 minutes more; `make peer` first)

FMD: first capture of each of eight conditions against the mean of 50, range 255. VST+BM3D figures are of
bm3d 4.0.3 with gain and read noise from four repeats (an oracle that a single image does not have).
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

import noisewise as nw
from common import DATA, PEER, psnr, table, write

WHITE = 6  # the conditions with pixel-wise noise come first; wide-field noise is correlated
VST_BM3D = [37.72, 31.75, 38.11, 32.88, 32.89, 37.07, 29.50, 28.03]


def fmd() -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, noisy images and truths of the eight conditions."""
    noisy = tifffile.imread(DATA / "fmd" / "raw.tif")[::4]
    truth = tifffile.imread(DATA / "fmd" / "gt_avg50.tif")
    lines = (DATA / "fmd" / "names.txt").read_text().splitlines()
    names = [line.split("\t")[1].removesuffix("_1") for line in lines[::4]]
    return names[:8], noisy, truth.astype(np.float64)


def run_peer(noisy: np.ndarray, seconds: list[int]) -> np.ndarray:
    """CAREamics' N2V predictions, (image, mark, Y, X), after some seconds of training."""
    with tempfile.TemporaryDirectory() as folder:
        images, out = Path(folder) / "images.npy", Path(folder) / "out.npz"
        np.save(images, noisy)
        script = Path(__file__).with_name("peer.py")
        marks = [str(s) for s in seconds]
        subprocess.run([PEER, script, "quality", images, out, "--seconds", *marks], check=True, cwd=folder)
        return np.load(out)["predictions"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=["fmd"], default="fmd")
    parser.add_argument("--budget", type=float, default=60.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--peer", action="store_true", help="also run CAREamics, 60 s and 300 s")
    parser.add_argument("--peer-predictions", type=Path, help="use these CAREamics predictions (npz) instead")
    parser.add_argument("--save", type=Path, help="folder for the denoised images")
    arguments = parser.parse_args()

    names, noisy, truth = fmd()
    peer = None
    if arguments.peer_predictions:
        peer = np.load(arguments.peer_predictions)["predictions"]
    elif arguments.peer:
        peer = run_peer(noisy, [60, 300])
    rows = []
    for index, name in enumerate(names):
        scores, seconds, steps = [], [], []
        for seed in range(arguments.seeds):
            start = time.perf_counter()
            result = nw.denoise(noisy[index], method="n2v", budget=arguments.budget, seed=seed)
            seconds.append(time.perf_counter() - start)
            steps.append(result.model.provenance["steps"])
            scores.append(psnr(np.clip(result.mean, 0, 255), truth[index], 255))
            if arguments.save:
                arguments.save.mkdir(exist_ok=True, parents=True)
                tifffile.imwrite(arguments.save / f"{name}_{seed}.tif", result.mean)
        row = {
            "condition": name, "noisy": psnr(noisy[index], truth[index], 255), "vst_bm3d_oracle": VST_BM3D[index],
            "n2v": float(np.mean(scores)), "n2v_by_seed": scores, "steps": steps, "seconds": seconds,
        }  # fmt: skip
        if peer is not None:
            row |= {
                f"careamics_{s}s": psnr(np.clip(peer[index, i], 0, 255), truth[index], 255)
                for i, s in enumerate((60, 300))
            }
        rows.append(row)
        print({k: v for k, v in row.items() if k != "n2v_by_seed"}, flush=True)

    columns = ["noisy", *[k for k in rows[0] if k.startswith("careamics")], "vst_bm3d_oracle", "n2v"]
    body = [[row["condition"], *(row[c] for c in columns)] for row in rows]
    means = ["mean of the first six", *(float(np.mean([row[c] for row in rows[:WHITE]])) for c in columns)]
    body.insert(WHITE, means)
    print(table(body, ["condition", *columns]))
    write(
        f"quality_{arguments.suite}",
        {
            "budget_s": arguments.budget,
            "range": 255,
            "rows": rows,
            "white_mean": dict(zip(columns, means[1:], strict=True)),
        },
    )


if __name__ == "__main__":
    main()
