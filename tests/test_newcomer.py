"""What a newcomer meets: values are checked first, files that were written are named, and messages name the choices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import noisewise as nw
from noisewise.cli import main
from noisewise.plots.canvas import new_figure, save


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Any:
    """Run a command in a folder with cells.tif and its outputs; returns exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    tifffile.imwrite("cells.tif", rng.normal(300, 15, (64, 64)).round().astype(np.uint16))
    for name in ("cells_denoised.tif", "m.safetensors", "x.png"):
        Path(name).write_text("precious")

    def call(*arguments: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([*map(str, arguments)])
        printed = capsys.readouterr()
        assert all(Path(name).read_text() == "precious" for name in ("cells_denoised.tif", "m.safetensors", "x.png"))
        return code, printed.out, printed.err

    return call


COMMON = [("--axes=QX", "unknown letter 'Q'"), ("--seed=-1", "seed -1"), ("--device=foo", "device 'foo' is not known")]
LENGTH = [("--budget=x", "budget 'x' is not a time"), ("--steps=-1", "steps -1")]
CASES = [
    *((("denoise", "cells.tif", "--model", "m.safetensors"), *case) for case in [*COMMON, *LENGTH]),
    (("denoise", "cells.tif", "--model", "m.safetensors"), "--method=n2vv", "did you mean 'n2v'"),
    (("denoise", "cells.tif", "--model", "m.safetensors"), "--noise=missing.safetensors", "no such file"),
    (("denoise", "cells.tif", "--model", "m.safetensors"), "--target=missing.tif", "no such file"),
    *((("train", "n2v", "cells.tif", "-o", "m.safetensors"), *case) for case in [*COMMON, *LENGTH]),
    (("train", "n2v", "cells.tif", "-o", "m.safetensors"), "--mask-percent=700", "setting 'mask_percent'"),
    (("train", "n2v", "cells.tif", "-o", "m.safetensors"), "--noise=missing.safetensors", "no such file"),
    *((("predict", "n2v.safetensors", "cells.tif"), *case) for case in COMMON),
    (("measure", "cells.tif", "--figure", "x.png", "--noise", "m.safetensors"), *COMMON[0]),
    (("calibrate", "cells.tif", "-o", "m.safetensors"), "--seed=-1", "seed -1"),
    (("calibrate", "cells.tif", "-o", "m.safetensors"), "--offset=nan", "--offset nan is not a pixel value"),
    (("calibrate", "cells.tif", "-o", "m.safetensors"), "--dark=missing.tif", "no such file"),
    (("calibrate", "cells.tif", "-o", "m.safetensors"), "--figure=x.jpg", "'.jpg' is not a format for figures"),
    (("evaluate", "cells.tif", "cells.tif", "--std", "cells.tif", "--figure", "x.png"), *COMMON[0]),
    (("simulate", "cells.tif", "-o", "cells_denoised.tif"), "--photons=-3", "photons -3 is not an amount of light"),
]


@pytest.mark.parametrize(("arguments", "option", "message"), CASES)
def test_values_are_checked_before_outputs_that_exist(
    run: Any, arguments: tuple[str, ...], option: str, message: str
) -> None:
    code, out, err = run(*arguments, option)
    assert code == 2 and out == "" and message in err and "exists already" not in err


def test_an_output_that_exists_names_the_choices(run: Any) -> None:
    code, _, err = run("denoise", "cells.tif", "--steps", 0)
    assert code == 2 and "cells_denoised.tif: exists already" in err
    assert all(choice in err for choice in ("another name", "overwrite", "skip_existing"))
    code, _, err = run("denoise", "cells.tif", "--steps", 0, "--skip-existing")
    assert code == 0 and "cells_denoised.tif: exists already, skipped" in err


def test_from_python_values_are_checked_first_too(run: Any) -> None:
    for options in ({"seed": -1}, {"device": "foo"}, {"axes": "QX"}, {"budget": "x"}, {"steps": -1}, {"method": "x"}):
        with pytest.raises(nw.UserError) as error:
            nw.denoise("missing.tif", **options)
        assert "missing.tif" not in str(error.value)


def test_measure_names_the_files_it_wrote(run: Any) -> None:
    code, out, _ = run("measure", "cells.tif", "--figure", "new.png", "--noise", "noise.safetensors")
    assert code == 0 and out.splitlines()[-2:] == ["noise.safetensors", "new.png"]
    assert run("measure", "cells.tif", "--figure", "new.svg", "--quiet")[1].splitlines()[-1] == "new.svg"
    record = json.loads(run("measure", "cells.tif", "--figure", "new.pdf", "--json")[1])
    assert (record["figure"], record["noise"]) == ("new.pdf", None)


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".PDF", b"%PDF"), (".svg", b"<?xml")])
def test_a_figure_has_the_format_of_its_name(tmp_path: Path, suffix: str, start: bytes) -> None:
    save(new_figure((2, 2)), tmp_path / f"a{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes().startswith(start)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["a.jpg", "a.tif", "a"])
def test_other_formats_of_figures_are_refused(run: Any, tmp_path: Path, name: str) -> None:
    code, out, err = run("measure", "cells.tif", "--figure", name)
    assert code == 2 and out == "" and f"error: {name}: " in err and "give .png, .pdf or .svg, such as a.png" in err
    with pytest.raises(nw.UserError, match=r"such as a\.png"):
        save(new_figure((2, 2)), tmp_path / name)


def test_a_figure_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = new_figure((2, 2))
    monkeypatch.setattr(figure, "savefig", lambda path, **_: Path(path).write_bytes(b"half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save(figure, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_info_describes_a_model_in_words(run: Any) -> None:
    assert run("train", "n2v", "cells.tif", "-o", "n2v.safetensors", "--steps", 2, "--mask-percent", 5)[0] == 0
    code, out, _ = run("info", "n2v.safetensors")
    for fact in (
        "n2v: Noise2Void", "planes (YX) with 1 channel", "trained on:   cells.tif", "complete, 2 steps",
        "settings:     mask_percent 5", "noisewise predict n2v.safetensors IMAGE", "gives:        the mean\n",
    ):  # fmt: skip
        assert fact in out, fact
    assert code == 0 and ("mean 299" in out or "mean 300" in out)
    assert json.loads(run("info", "n2v.safetensors", "--json")[1])["settings"]["mask_percent"] == 5


def test_units_are_in_words(run: Any) -> None:
    assert run("simulate", "cells.tif", "-o", "noisy.tif")[0] == 0
    out = run("info", "noisy.tif")[1]
    assert "read noise (electrons): 1.4" in out and "gain (ADU per electron): 2.2" in out and "em gain: 1" in out
