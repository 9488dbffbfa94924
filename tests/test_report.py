"""Reports: checks of a finished result find planted harm; the page is complete in itself; JSON says the same."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from scipy.ndimage import gaussian_filter

import noisewise as nw
from noisewise import cli
from noisewise.cli import denoise
from noisewise.cli._parse import parse
from noisewise.evaluate.finished import LIMITS, Finding, check_finished, spot_profile
from noisewise.noise.models.gaussian import Gaussian
from noisewise.report.collect import strongest
from noisewise.report.files import report
from noisewise.report.page import render
from noisewise.report.verdict import SENTENCES, Verdict, verdict_of
from noisewise.scenes import draw

SIGMA = 10.0
SIGNAL = 100 + 200 * draw("filaments", (160, 160), 7).numpy().astype(np.float64)
PLACE = tuple(
    int(i) + 10 for i in np.unravel_index(gaussian_filter(SIGNAL, 6)[10:-10, 10:-10].argmin(), (140, 140))
)  # in the darkest part


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """A noisy image and its result: the truth with a little of the noise."""
    noise = SIGMA * np.random.default_rng(0).normal(size=SIGNAL.shape)
    return SIGNAL + noise, SIGNAL + gaussian_filter(0.3 * noise, 1.5)


def findings(noisy: np.ndarray, result: np.ndarray, signal: np.ndarray = SIGNAL) -> list[Finding]:
    """All checks; the second result is a signal with another part of the noise."""
    second = signal + gaussian_filter(0.3 * (noisy - signal), 1.0)
    return check_finished(*map(torch.from_numpy, (noisy, result, second)), Gaussian(SIGMA))


def excesses(noisy: np.ndarray, result: np.ndarray) -> dict[str, float]:
    return {one.check: one.excess for one in findings(noisy, result)}


def with_spot(image: np.ndarray, strength: float) -> np.ndarray:
    """A spot in the darkest part."""
    profile, changed, (y, x) = spot_profile(1.3).numpy(), image.copy(), PLACE
    kernel = np.outer(profile, profile)
    changed[y - 5 : y + 6, x - 5 : x + 6] += strength * SIGMA * kernel
    return changed


def test_an_honest_result_is_believed(pair: tuple[np.ndarray, np.ndarray]) -> None:
    noisy, result = pair
    found = findings(noisy, result)
    assert {one.check for one in found} == set(LIMITS) == set(SENTENCES)
    assert verdict_of(found).word == "believe", verdict_of(found).reasons


@pytest.mark.parametrize(
    ("harm", "check"),
    [
        (lambda d: gaussian_filter(d, 1.5), "blurred"),
        (lambda d: 2 * d - gaussian_filter(d, 1.0), "sharpened"),
        (lambda d: d.mean() + 1.03 * (d - d.mean()), "scale"),
        (lambda d: np.roll(d, 1, 1), "shift"),
        (lambda d: with_spot(d, 7.0), "invented"),
        (lambda d: np.where(np.arange(160)[:, None] < 70, d, d + 0.4 * SIGMA), "seam"),
        (lambda d: np.where(np.arange(160)[:, None] == 70, d + 0.6 * SIGMA, d), "stripe"),
    ],
    ids=["blurred", "sharpened", "scaled", "shifted", "spot", "seam", "stripe"],
)
def test_planted_harm_is_found(pair: tuple[np.ndarray, np.ndarray], harm: Any, check: str) -> None:
    noisy, result = pair
    assert excesses(noisy, harm(result))[check] > 1


def test_an_erased_spot_is_found_where_it_was(pair: tuple[np.ndarray, np.ndarray]) -> None:
    noisy, result = pair
    erased = next(
        one for one in findings(with_spot(noisy, 7.0), result, with_spot(SIGNAL, 5.0)) if one.check == "erased"
    )
    assert erased.excess > 1 and erased.place is not None
    assert abs(erased.place[0] - PLACE[0]) < 3 and abs(erased.place[1] - PLACE[1]) < 3


def test_verdicts() -> None:
    assert verdict_of([Finding("shift", 0.05)]).word == "believe"
    assert verdict_of([Finding("erased", 6.0, (3, 4))]).word == "look here"
    assert [one.place for one in verdict_of([Finding("erased", 6.0, (3, 4))]).places] == [(3, 4)]
    assert verdict_of([Finding("shift", 1.0)]).word == "do not believe"
    assert verdict_of([], ["It may be wrong."]).word == "look here"
    for check, limit in LIMITS.items():
        assert re.search(r"[.]$", verdict_of([Finding(check, 2 * limit)]).reasons[0])


def checked(folder: Path, noisy: np.ndarray, change: Any = lambda d: d, **options: Any) -> Any:
    """The report of an image in a file, denoised without training and changed."""
    path = folder / "image.tif"
    tifffile.imwrite(path, noisy, metadata={"axes": "TYX"[-noisy.ndim :]}, imagej=noisy.ndim == 3)
    output = folder / "image_denoised.tif"
    nw.denoise(path, output=output, **{"method": "simulated", "steps": 0, "report": lambda _: None} | options)
    if noisy.ndim == 2:
        tifffile.imwrite(folder / "changed.tif", change(tifffile.imread(output)))
        return report(folder / "changed.tif", path)
    return report(output, path)


def exposed(shape: tuple[int, ...] = (160, 160), seed: int = 1, photons: float = 40) -> np.ndarray:
    scene = photons * draw("nuclei", shape[-2:], 5).numpy()
    return np.squeeze(
        nw.Camera(gain=2, read_noise=2, offset=100).expose(np.broadcast_to(scene, shape).copy(), seed=seed)
    )


@pytest.mark.parametrize(
    ("harm", "check", "word"),
    [
        (lambda d, _: d * np.nan, "missing", "do not believe"),
        (lambda d, _: np.where(np.arange(160)[:, None] < 40, np.nan, d), "missing", "do not believe"),
        (lambda d, _: d + 0.4 * SIGMA, "offset", "look here"),
        (lambda d, x: np.where(np.abs(np.mgrid[:160, :160] - 80).max(0) < 20, x, d), "left", "look here"),
    ],
    ids=["all missing", "rows missing", "offset", "a tile left noisy"],
)
def test_what_is_missing_left_or_moved_is_found(pair: Any, harm: Any, check: str, word: str) -> None:
    noisy, result = pair
    found = findings(noisy, harm(result, noisy))
    assert next(one for one in found if one.check == check).excess > 1 and verdict_of(found).word == word


def test_a_flat_image_is_believed(tmp_path: Path) -> None:
    """Rounding is all that its result and another one differ by."""
    rng = np.random.default_rng(0)
    flat = (100 + rng.poisson(2, (128, 128)) * 2 + rng.normal(0, 3, (128, 128))).clip(0).astype(np.uint16)
    found = checked(tmp_path, flat)
    assert found.verdict.word == "believe", found.verdict.text


def test_rounded_results_have_no_specks(tmp_path: Path) -> None:
    found = checked(tmp_path, exposed())
    assert found.verdict.word == "believe", found.verdict.text


def test_hot_pixels_and_borders_are_not_checked(tmp_path: Path) -> None:
    """They are not light: `denoise` left them out."""
    movie = exposed((4, 160, 160))
    rng = np.random.default_rng(0)
    movie[:, rng.integers(0, 160, 12), rng.integers(0, 160, 12)] = 60_000
    assert checked(tmp_path, movie).verdict.word == "believe"
    framed = np.pad(exposed(), 24)
    assert checked(tmp_path, framed, overwrite=True).verdict.word == "believe"


def test_what_cannot_be_checked_is_not_believed(tmp_path: Path) -> None:
    found = checked(tmp_path, exposed()[:28, :28], method="n2v", steps=1)
    assert found.verdict.word == "look here" and "not checked" in found.verdict.text and not found.findings


def test_an_image_without_noise_that_is_returned_is_believed(tmp_path: Path) -> None:
    clean = np.rint(1000 + 20_000 * draw("nuclei", (160, 160), 5).numpy()).astype(np.uint16)
    found = checked(tmp_path, clean, method="auto")
    assert found.verdict.word == "believe" and "the image itself" in found.verdict.text
    assert checked(tmp_path, clean, lambda d: d + 50, method="auto", overwrite=True).verdict.word != "believe"


def test_places_are_those_of_the_whole_image(tmp_path: Path) -> None:
    """Of a large image, the middle is checked; a spot is marked where it is."""
    noisy = exposed((640, 640))

    def with_bright_spot(image: np.ndarray) -> np.ndarray:
        changed = image.astype(float)
        changed[395:406, 245:256] += 200 * np.outer(spot_profile(1.3), spot_profile(1.3))
        return changed.astype(image.dtype)

    found = checked(tmp_path, noisy, with_bright_spot)
    spot = next(one for one in found.findings if one.check == "invented")
    assert spot.excess > 1 and spot.place is not None and np.hypot(spot.place[0] - 400, spot.place[1] - 250) < 3
    assert found.seen == pytest.approx(512**2 / 640**2)


def test_checks_that_found_nothing_to_compare_do_not_hide_others() -> None:
    assert strongest([[], [Finding("shift", 0.5)], [Finding("shift", 0.1)]]) == [Finding("shift", 0.5)]
    assert strongest([[], []]) == []


def test_a_shift_has_the_sign_of_the_movement(pair: tuple[np.ndarray, np.ndarray]) -> None:
    noisy, result = pair
    found = {one.check: one.value for one in findings(noisy, np.roll(result, 1, 1))}
    assert 0.7 < found["shift"] < 1.3


# -- pages -------------------------------------------------------------------------------------------


class Addresses(HTMLParser):
    """Collects what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "srcset")]


@pytest.fixture
def files(tmp_path: Path, pair: tuple[np.ndarray, np.ndarray]) -> Path:
    tifffile.imwrite(tmp_path / "cells.tif", pair[0].astype(np.float32))
    nw.denoise(tmp_path / "cells.tif", output=tmp_path / "cells_denoised.tif", method="simulated", steps=0)
    return tmp_path


def test_a_report_is_one_file_that_loads_nothing(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", str(files / "cells_denoised.tif")]) == 0
    page = files / "cells_denoised_report.html"
    assert capsys.readouterr().out.strip() == str(page)
    text = page.read_text(encoding="utf-8")
    parser = Addresses()
    parser.feed(text)
    assert parser.found and all(address.startswith(("data:", "#")) for address in parser.found)
    assert page.stat().st_size < 5_000_000
    assert "How to repeat it" in text and "noisewise denoise" in text
    record = json.loads(re.search(r'id="record">(.*?)</script>', text, re.S)[1])  # type: ignore[index]
    assert record["verdict"] in ("believe", "look here", "do not believe")
    assert cli.main(["report", str(files / "cells_denoised.tif"), "--json", "--overwrite"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == record["verdict"]


def test_a_report_that_exists_is_kept(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "cells_denoised_report.html").write_text("mine")
    assert cli.main(["report", str(files / "cells_denoised.tif")]) == 2
    assert (files / "cells_denoised_report.html").read_text() == "mine"
    (files / "cells.tif").rename(files / "elsewhere.tif")
    assert cli.main(["report", str(files / "cells_denoised.tif"), "--overwrite"]) == 2
    assert "the noisy image cells.tif is not in" in capsys.readouterr().err
    arguments = ["report", str(files / "cells_denoised.tif"), "--input", str(files / "elsewhere.tif"), "--overwrite"]
    assert cli.main(arguments) == 0


def test_an_image_of_another_program_needs_its_noisy_image(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", str(files / "cells.tif")]) == 2
    advice = f"noisewise report {files / 'cells.tif'} --input IMAGE"
    assert f"names no noisy image; give it, or its folder: {advice}" in capsys.readouterr().err


def test_a_page_has_the_name_of_one(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", str(files / "cells_denoised.tif"), "-o", str(files / "page.pdf")]) == 2
    assert "give a name with .html, such as page.html" in capsys.readouterr().err
    assert not (files / "page.pdf").exists()


def test_names_cannot_change_the_page(files: Path) -> None:
    strange = files / "a<script>alert(1)<b>.tif"
    shutil.copy(files / "cells_denoised.tif", strange)
    assert cli.main(["report", str(strange), "--input", str(files / "cells.tif"), "-o", str(files / "page.html")]) == 0
    text = (files / "page.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text and "<b>" not in text


def test_other_shapes_are_refused(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite(files / "small.tif", np.ones((40, 40), np.float32))
    arguments = ["report", str(files / "cells_denoised.tif"), "--input", str(files / "small.tif")]
    assert cli.main(arguments) == 2
    assert "their shapes differ" in capsys.readouterr().err


def test_denoise_writes_reports_and_a_summary(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(files / "cells.tif", files / "b.tif")
    arguments = ["denoise", str(files / "cells.tif"), str(files / "b.tif"), "-o", str(files / "out"), "--steps", "0"]
    assert cli.main([*arguments, "--report", "--json"]) == 0
    pages = [files / "out" / f"{name}_denoised_report.html" for name in ("b", "cells")]
    found = json.loads(capsys.readouterr().out)["reports"]
    assert {one["page"] for one in found} == {str(page) for page in pages}
    summary = (files / "out" / "noisewise_report.html").read_text(encoding="utf-8")
    assert all(page.exists() and f'href="{page.name}"' in summary for page in pages)
    pages[0].write_text("mine")
    (files / "out" / "b_denoised.tif").unlink()
    assert cli.main([*arguments, "--report"]) == 2, "a page that exists is kept"
    assert pages[0].read_text() == "mine" and "exists already" in capsys.readouterr().err
    assert cli.main(["report", *(str(files / "out" / f"{n}_denoised.tif") for n in ("cells", "b"))]) == 2
    assert cli.main([*arguments, "--overwrite"]) == 0, "no report is asked for, and nobody looks"
    assert pages[0].read_text() == "mine"


def test_reports_of_several_find_their_inputs_in_a_folder(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "raw").mkdir()
    (files / "cells.tif").rename(files / "raw" / "cells.tif")
    shutil.copy(files / "cells_denoised.tif", files / "b_denoised.tif")
    several = [str(files / name) for name in ("cells_denoised.tif", "b_denoised.tif")]
    assert cli.main(["report", *several]) == 2
    assert "is not in" in capsys.readouterr().err
    assert cli.main(["report", *several, "--input", str(files / "raw"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["reports"]) == 2


def test_of_a_folder_the_results_are_checked(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", str(files), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["image"] == "cells_denoised.tif"
    assert cli.main(["report"]) == 2
    assert "no denoised image; give one" in capsys.readouterr().err


def test_simulated_images_are_no_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = "a", "b"
    for name in names:
        scene = ["simulate", "--scene", "nuclei", "--size", "48x48", "-o", str(tmp_path / f"{name}.tif")]
        assert cli.main(scene) == 0
    assert cli.main(["denoise", str(tmp_path), "--steps", "0"]) == 0
    printed = capsys.readouterr()
    assert [f"{name}_denoised.tif" in printed.out for name in names] == [True, True]
    assert "2 files left out, which are truths of other inputs: a_truth.tif, b_truth.tif" in printed.err
    (tmp_path / "b.tif").rename(tmp_path / "c.tif")
    assert cli.main(["report", str(tmp_path)]) == 3
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'a_denoised_report.html'}\n"
    assert "error: " in printed.err and "the noisy image b.tif is not in" in printed.err
    assert "1 of 2 inputs done" in printed.err


def test_what_is_of_an_earlier_result_is_not_used(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    denoise = ["denoise", str(files / "cells.tif"), "--steps", "0", "--overwrite"]
    assert cli.main([*denoise, "--std", "--report"]) == 0
    assert report(files / "cells_denoised.tif").planes[0].std is not None
    assert "earlier result" not in capsys.readouterr().err
    assert cli.main([*denoise, "--seed", "1"]) == 0
    assert capsys.readouterr().err.count("is of an earlier result; remove or renew it") == 2
    assert report(files / "cells_denoised.tif").planes[0].std is None


@pytest.mark.parametrize("word", ["believe", "look here", "do not believe"])
def test_a_verdict_says_what_to_do(word: Any) -> None:
    advice = Verdict(word, ("Reason.",), ()).advice
    assert bool(advice) == (word != "believe")


def test_in_a_terminal_reports_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*options: str) -> bool:
        return parse("denoise", denoise, ["a.tif", *options]).reports

    assert asked("--report") and not asked()
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert asked() and not asked("--no-report") and not asked("--quiet")


def test_stacks_have_all_channels_a_projection_and_samples(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noisy = rng.poisson(50 * np.ones((3, 2, 64, 64)) + 20 * SIGNAL[None, None, :64, :64] / SIGNAL.max())
    tifffile.imwrite(tmp_path / "a.tif", noisy.astype(np.uint16), imagej=True, metadata={"axes": "ZCYX"})
    result = nw.denoise(tmp_path / "a.tif", output=tmp_path / "b.tif", method="hdn", steps=1)
    found = report(tmp_path / "b.tif", tmp_path / "a.tif", model=result.model)
    assert {plane.channel for plane in found.planes} == {0, 1}
    assert found.planes[0].label == "channel 0, plane 1 of 3"
    assert found.projection is not None
    np.testing.assert_array_equal(found.projection.noisy, noisy[:, 0].max(0))
    assert found.trained is not None and found.trained.samples is not None
    assert found.trained.samples.shape == (4, 64, 64)
    assert render(found, "").count('alt="sample') == 4


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs a browser")
def test_a_browser_shows_the_page_and_moves_its_slider(files: Path) -> None:
    assert cli.main(["report", str(files / "cells_denoised.tif")]) == 0
    page = files / "cells_denoised_report.html"
    script = """<script>
      cut.value = 20; cut.dispatchEvent(new Event("input"));
      document.title = [viewer.style.getPropertyValue("--cut"), document.getElementById("noisy").naturalWidth,
        document.body.scrollWidth <= window.innerWidth,
        document.getElementById("noisy").clientHeight === document.getElementById("denoised").clientHeight].join(" ");
    </script></body>"""
    text = page.read_text(encoding="utf-8").replace("</body>", script)
    page.write_text(text, encoding="utf-8")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--window-size=400,900", "--dump-dom"]
    shown = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True).stdout
    assert re.search(r"<title>20% 160 true true</title>", shown), shown[:400]


def test_a_figure_shows_the_result_with_a_scale_bar(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from noisewise.plots.images import round_length

    assert [round_length(most) for most in (0.3, 1.0, 4.9, 70.0)] == pytest.approx([0.2, 1.0, 2.0, 50.0])
    output = next(iter(sorted(files.glob("*_denoised.tif"))))
    assert cli.main(["report", str(output), "--figure", str(files / "a.png")]) == 0
    assert capsys.readouterr().out.strip() == str(files / "a.png")
    assert cli.main(["report", str(output), "--figure", str(files / "a.png")]) == 2
    assert cli.main(["report", str(output), "--figure", str(files / "a.txt")]) == 2
