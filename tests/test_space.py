"""Outputs that do not fit on the disk are refused before the work, in one sentence with both numbers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import noisewise as nw
from noisewise.cli import main
from noisewise.io import create_sink, open_source
from noisewise.io.space import in_bytes, refuse_without_space
from noisewise.io.write import WriteOptions
from noisewise.workflow import denoise as workflow

SIDE = 64
PIXELS = SIDE * SIDE


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Set the free space of the disk, in bytes; the working directory has a.tif and b.tif, uint16."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).normal(300, 15, (SIDE, SIDE)).astype(np.uint16)
    for name in ("a.tif", "b.tif"):
        with create_sink(name, open_source(pixels)) as sink:
            sink.write((slice(0, SIDE), slice(0, SIDE)), pixels)

    def set_free(free: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10 * free, 9 * free, free))

    return set_free


def test_all_images_of_a_file_count(disk: Any, tmp_path: Path) -> None:
    sources = [open_source(np.full((SIDE, SIDE * count), 7, np.uint16)) for count in (1, 2)]
    write = WriteOptions(std=True)
    disk(18 * PIXELS)
    write.refuse_early([(tmp_path / "out.tif", sources), (None, sources)])
    disk(18 * PIXELS - 1)
    with pytest.raises(nw.UserError, match=r"73\.7 kB"):
        write.refuse_early([(tmp_path / "out.tif", sources)])


def refused(capsys: Any, *arguments: Any) -> str:
    """The error of a command that leaves nothing behind."""
    before = sorted(Path().iterdir())
    assert main([*map(str, arguments)]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and printed.err.startswith("error: ")
    assert sorted(Path().iterdir()) == before
    return str(printed.err)


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (["-o", "out.tif"], 2 * PIXELS),
        (["-o", "out.tif", "--float32"], 4 * PIXELS),
        (["-o", "out.tif", "--std"], 6 * PIXELS),
        (["-o", "out.tif", "--samples", 5, "--method", "hdn"], 12 * PIXELS),
        (["-o", "out.tif", "--samples", 5, "--diverse", 3, "--mode", "--method", "hdn"], 10 * PIXELS),
        (["-o", "out.ome.zarr"], 2 * PIXELS),
        (["b.tif", "-o", "new/out/"], 4 * PIXELS),
    ],
)
def test_denoise_needs_its_outputs_without_compression(
    disk: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch, arguments: list[Any], needed: int
) -> None:
    class Reached(Exception):
        """The work has begun."""

    def begin(*_: Any, **__: Any) -> None:
        raise Reached

    monkeypatch.setattr(workflow, "Training", begin)
    monkeypatch.setenv("NOISEWISE_DEBUG", "1")
    disk(needed)
    with pytest.raises(Reached):
        main(["denoise", "a.tif", *map(str, arguments)])
    monkeypatch.delenv("NOISEWISE_DEBUG")
    capsys.readouterr()  # the progress of the first
    disk(needed - 1)
    error = refused(capsys, "denoise", "a.tif", *arguments)
    assert f"the outputs need {in_bytes(needed)}, but only {in_bytes(needed - 1)} of the disk are free" in error


def test_an_output_that_is_replaced_needs_its_space_until_then(disk: Any, capsys: Any) -> None:
    Path("new").mkdir()
    for name in ("a.tif", "b.tif"):
        shutil.copy(name, f"new/{name.replace('.', '_denoised.')}")
    old = Path("new/a_denoised.tif").stat().st_size
    assert old >= 2 * PIXELS
    paths = [Path("new/a_denoised.tif"), Path("new/b_denoised.tif")]
    disk(old + 1)  # the first is replaced before the second is written
    refuse_without_space([[(path, old)] for path in paths])
    with pytest.raises(nw.UserError, match="the outputs need"):
        refuse_without_space([[(path, old) for path in paths]])  # both are written before either is replaced
    disk(old - 1)
    with pytest.raises(nw.UserError, match="the outputs need"):
        refuse_without_space([[(paths[0], old)]])


def test_predict_and_simulate_are_checked_too(disk: Any, capsys: Any) -> None:
    model = nw.train("n2v", "a.tif", steps=1, features=8, depth=1)
    model.save("n2v.safetensors")
    disk(2 * PIXELS - 1)
    assert "the outputs need" in refused(capsys, "predict", "n2v.safetensors", "a.tif")
    with pytest.raises(nw.UserError, match="the outputs need"):
        model.predict("a.tif", output="out.tif")
    assert model.predict("a.tif").mean.shape == (SIDE, SIDE)  # nothing is written
    disk(6 * PIXELS - 1)
    assert "the outputs need" in refused(capsys, "simulate", "a.tif")
    assert "the outputs need" in refused(capsys, "simulate", "a.tif", "b.tif", "--no-truth", "--frames", 2)
    with pytest.raises(nw.UserError, match="the outputs need"):
        nw.simulate(["a.tif", "b.tif"], output="new/")
    assert not Path("new").exists()
    assert main(["simulate", "a.tif", "--no-truth"]) == 0


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (1_234_567, "1.23 MB"), (999_999, "1 MB"), (5e12, "5 TB")],
)
def test_numbers_of_bytes_have_a_unit(count: float, text: str) -> None:
    assert in_bytes(count) == text


def test_links_are_followed_and_missing_folders_left_to_others(disk: Any, tmp_path: Path) -> None:
    disk(10)
    refuse_without_space([[(tmp_path / "missing" / "a.tif", 100)]])
    (tmp_path / "link.tif").symlink_to(tmp_path / "a.tif")
    with pytest.raises(nw.UserError, match="need 100 bytes, but only 10 bytes"):
        refuse_without_space([[(tmp_path / "link.tif", 100)]])
