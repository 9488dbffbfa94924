"""Scenes of many kinds times cameras with known noise: what `measure` finds, and whether its intervals hold the truth.

    python benchmarks/noise_planted.py                (about 3 minutes)
    python benchmarks/noise_planted.py --only dense   (scenes whose names contain this)

Scenes: sparse, dense (random fields blurred by 0.7 to 5 pixels, raised to powers), natural, tissue-like, electron
microscopy, mostly empty, mostly bright. Cameras: photon noise with various gains, read noise, rows, correlation.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

import noisewise as nw
from common import make_parser, natural, table, write
from noisewise.scenes import draw

Z95 = 1.96


@dataclass(frozen=True)
class PlantedCamera:
    """photons: in the brightest pixel. gain: ADU per electron. blur: of white noise, pixels, for correlation."""

    photons: float
    gain: float = 2.0
    read_noise: float = 0.0
    offset: float = 100.0
    rows: float = 0.0
    blur: float = 0.0

    def expose(self, scene: np.ndarray, seed: int) -> np.ndarray:
        """A noisy image (ADU) of a scene from 0 to 1."""
        if not self.blur:
            camera = nw.Camera(
                gain=self.gain, read_noise=self.read_noise, offset=self.offset, row_noise_e=self.rows, bits=16
            )
            return camera.expose(self.photons * scene, seed=seed)
        rng = np.random.default_rng(seed)
        field = gaussian_filter(rng.normal(size=scene.shape), self.blur, mode="wrap")
        signal, variance = self.moments(scene)
        return np.clip(np.rint(signal + field / field.std() * np.sqrt(variance)), 0, 65535).astype(np.uint16)

    def moments(self, scene: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Signal (ADU) and noise variance (ADU²), without row offsets."""
        photons = self.photons * scene
        return self.offset + self.gain * photons, self.gain**2 * (photons + self.read_noise**2) + 1 / 12

    @property
    def rho(self) -> float:
        """Correlation of neighbours."""
        return float(np.exp(-1 / (4 * self.blur**2))) if self.blur else 0.0


def unit(scene: np.ndarray) -> np.ndarray:
    """A scene scaled to 0 to 1."""
    return (scene - scene.min()) / np.ptp(scene)


def dense(side: int, blur: float, power: float, seed: int) -> np.ndarray:
    """A random field, blurred and raised to a power."""
    field = gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), blur)
    return unit(np.abs(field) ** power if power != 1 else field)


def scenes() -> Iterator[tuple[str, np.ndarray]]:
    """Name and scene (Y, X) from 0 to 1."""
    for blur in (0.7, 1.0, 1.5, 2.0, 3.0, 5.0):
        for power, side in ((1, 192), (1, 512), (2, 256), (3, 384)):
            yield f"dense {blur} ^{power} {side}", dense(side, blur, power, int(10 * blur) + power)
    for kind in ("leaves", "regions", "texture", "filaments", "membranes", "nuclei", "puncta", "vesicles"):
        yield f"drawn {kind}", unit(draw(kind, (256, 256), 7).numpy())
    for number in (0, 3, 6, 7, 10):
        yield f"natural {number}", natural("Set12")[number][:256, :256] / 255
    for number in (5, 30):
        yield f"natural bsd {number}", natural("BSD68")[number] / 255
    yield "sparse", unit(draw("puncta", (256, 256), 3).numpy()) ** 3
    yield "empty", np.pad(unit(draw("nuclei", (96, 96), 4).numpy()), 80)
    yield "bright", 1 - 0.4 * unit(draw("vesicles", (256, 256), 5).numpy())
    em = unit(draw("membranes", (320, 320), 6).numpy()) + 0.5 * dense(320, 1.2, 1, 9)
    yield "em", 1 - unit(em)
    yield "tissue", unit(draw("regions", (256, 256), 9).numpy() * (0.5 + dense(256, 1.5, 1, 2)))


CAMERAS = {
    "sCMOS": PlantedCamera(200, gain=2.0, read_noise=1.6),
    "photons": PlantedCamera(155, gain=2.0),
    "dim": PlantedCamera(20, gain=5.0, read_noise=1.0),
    "bright": PlantedCamera(2000, gain=0.5, read_noise=3.0),
    "rows": PlantedCamera(150, gain=2.0, read_noise=2.0, rows=4.0),
    "correlated": PlantedCamera(100, gain=2.0, read_noise=2.0, blur=0.7),
}


def row(scene: str, image: np.ndarray, name: str) -> dict[str, Any]:
    """What is measured in one noisy image, and what is true."""
    camera = CAMERAS[name]
    noisy = camera.expose(image, seed=zlib.crc32(f"{scene} {name}".encode()) % 2**31)
    try:
        found = nw.measure(noisy)
    except nw.UserError as error:
        return {"scene": scene, "camera": name, "kind": "not measured", "error": str(error)}
    low, middle, high = np.quantile(image, (0.02, 0.5, 0.98))
    signal, variance = camera.moments(np.array([low, middle, high]))
    measured = np.array([max(found.line(s), 1e-9) for s in signal])
    slope, error = found.line.slope, found.line.slope_error
    return {
        "scene": scene, "camera": name, "kind": found.kind,
        "gain": slope / camera.gain, "gain_error": error / camera.gain,
        "gain_inside": bool(abs(slope - camera.gain) <= Z95 * error),
        "variance": (measured / variance).tolist(),
        "rho": max(abs(found.rho[a][0]) for a in "XY"), "rho_true": camera.rho,
        "row_std": found.row_std_adu / (camera.gain * camera.rows) if camera.rows else None,
    }  # fmt: skip


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Shares and medians over some images."""
    rows = [one for one in rows if "error" not in one]
    ratio = np.array([one["variance"] for one in rows])
    return {
        "images": len(rows),
        "gain_inside": float(np.mean([one["gain_inside"] for one in rows])),
        "gain_within_15": float(np.mean([abs(one["gain"] - 1) < 0.15 for one in rows])),
        "gain_either": float(np.mean([abs(one["gain"] - 1) < 0.15 or one["gain_inside"] for one in rows])),
        "gain_width": float(np.median([one["gain_error"] for one in rows])),
        "variance_error": float(np.median(np.abs(np.log(ratio)))),
        "variance_worst": float(np.quantile(np.abs(np.log(ratio)), 0.95)),
        "kind_right": float(np.mean([(one["rho"] > 0.2) == (one["rho_true"] > 0.2) for one in rows])),
    }


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--only", default="", help="a part of the names of scenes")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(2)
    rows = [row(scene, image, name) for scene, image in scenes() if arguments.only in scene for name in CAMERAS]
    columns = (
        "gain_inside",
        "gain_within_15",
        "gain_either",
        "gain_width",
        "variance_error",
        "variance_worst",
        "kind_right",
    )
    parts = {name: [one for one in rows if one["camera"] == name] for name in CAMERAS}
    parts |= {kind: [one for one in rows if one["scene"].startswith(kind)] for kind in ("dense", "drawn", "natural")}
    parts["all"] = rows
    result = {name: summary(part) for name, part in parts.items() if part}
    print(
        table(
            [[name, part["images"], *(part[c] for c in columns)] for name, part in result.items()], ["", "n", *columns]
        )
    )
    print(*(f"{one['scene']} {one['camera']}: {one['error']}" for one in rows if "error" in one), sep="\n")
    rows = [one for one in rows if "error" not in one]
    for one in sorted(rows, key=lambda one: -abs(np.log(one["variance"][1])))[:25]:
        print(
            one["scene"],
            one["camera"],
            one["kind"],
            f"gain {one['gain']:.2f} ± {one['gain_error']:.2f}",
            np.round(one["variance"], 2),
            f"rho {one['rho']:.2f} for {one['rho_true']:.2f}",
        )
    write("noise_planted", {"summary": result, "rows": rows}, arguments.dry)


if __name__ == "__main__":
    main()
