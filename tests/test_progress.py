"""Progress from Python, and how the work is stopped: nothing is half written, and a training is kept."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import noisewise as nw
from noisewise.progress import Line, Progress, Stage, quiet, showing
from noisewise.workflow.training import Interrupted

SMALL: dict[str, Any] = {"features": 8, "depth": 1, "batch_size": 4}


class Enough(Exception):
    """What a program raises to stop the work."""


def stop_at(name: str, error: type[BaseException], step: int = 0) -> Callable[[Stage], None]:
    """A report that raises an error in a stage, at a training step or in the midst of the rest."""

    def report(stage: Stage) -> None:
        if stage.name == name and (stage.progress is None or stage.progress.step == step):
            raise error

    return report


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: tuple[np.ndarray, np.ndarray]) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("cells.npy", planted[1])
    return Path("cells.npy")


@pytest.fixture(scope="module")
def model(planted: tuple[np.ndarray, np.ndarray]) -> nw.Model:
    return nw.train("n2v", planted[1], steps=2, **SMALL)


def names() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def weights(model: nw.Model) -> list[torch.Tensor]:
    return list(model.net.state_dict().values())


# -- stopping --------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", [None, "model.safetensors"])
def test_an_interrupted_training_is_returned_and_continues_exactly(image: Path, output: str | None) -> None:
    whole = nw.train("n2v", image, steps=12, **SMALL)
    begun = nw.train("n2v", image, steps=12, output=output, report=stop_at("train", KeyboardInterrupt, 5), **SMALL)
    assert begun.train_state.step == 5 and not begun.train_state.finished
    assert nw.predict(image, begun).mean.shape == (96, 96)
    if output is not None:
        begun = nw.load(output)
    found = nw.train("n2v", image, steps=12, resume=begun, **SMALL)
    assert found.train_state.finished
    for one, other in zip(weights(whole), weights(found), strict=True):
        assert torch.equal(one, other)


def test_another_exception_is_raised_after_the_model_was_kept(image: Path) -> None:
    whole = nw.train("n2v", image, steps=12, **SMALL)
    with pytest.raises(Enough):
        nw.train("n2v", image, steps=12, output="m.safetensors", report=stop_at("train", Enough, 5), **SMALL)
    assert names() == ["cells.npy", "m.safetensors"]
    begun = nw.load("m.safetensors")
    assert (begun.train_state.step, begun.train_state.steps) == (5, 12)
    found = nw.train("n2v", image, steps=12, resume=begun, **SMALL)
    for one, other in zip(weights(whole), weights(found), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("stage", "finished"), [("train", False), ("predict", True)])
def test_denoise_raises_with_the_model(image: Path, stage: str, finished: bool) -> None:
    report = stop_at(stage, KeyboardInterrupt, 2)
    with pytest.raises(Interrupted) as stop:
        nw.denoise(image, method="n2v", steps=4, output="out.tif", report=report, **SMALL)
    assert stop.value.model.train_state.finished is finished
    assert nw.predict(image, stop.value.model).mean.shape == (96, 96)
    assert names() == ["cells.npy"]


@pytest.mark.parametrize("stage", ["notes", "train", "predict"])
def test_another_exception_leaves_denoise_at_once(image: Path, stage: str) -> None:
    np.save("cells.npy", np.load(image)[None])  # whose axes are guessed, which a note says
    with pytest.raises(Enough):
        nw.denoise(image, method="n2v", steps=4, output="new/out.tif", report=stop_at(stage, Enough, 2), **SMALL)
    assert names() == ["cells.npy"]


@pytest.mark.parametrize("error", [Enough, KeyboardInterrupt])
@pytest.mark.parametrize("suffix", [".tif", ".zarr", ".npy"])
def test_a_stopped_prediction_keeps_what_was_there(
    image: Path, model: nw.Model, suffix: str, error: type[BaseException]
) -> None:
    output = Path(f"out{suffix}")
    nw.predict(image, model, output=output)
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    calls: list[float] = []

    def report(stage: Stage) -> None:
        calls.append(stage.fraction)
        if len(calls) == 3:
            raise error

    with pytest.raises(error):
        nw.predict(image, model, output=output, overwrite=True, tile=32, average=False, report=report)
    assert 0 < calls[-1] < 1  # in the midst of the tiles
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_evaluate_reports_and_stops(planted: tuple[np.ndarray, np.ndarray]) -> None:
    found: list[Stage] = []
    nw.evaluate(planted[1], planted[0], report=found.append)
    assert [stage.name for stage in found] == ["evaluate"] * len(found) and found[-1].fraction == 1
    with pytest.raises(Enough):
        nw.evaluate(planted[1], planted[0], report=stop_at("evaluate", Enough))


# -- the line --------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Notebook(io.StringIO):
    """Standard error of a notebook, which is no terminal."""


Notebook.__module__ = "ipykernel.iostream"


@pytest.mark.parametrize("kind", [Terminal, Notebook])
def test_terminals_and_notebooks_show_one_line(
    monkeypatch: pytest.MonkeyPatch, kind: type[io.StringIO], model: nw.Model, planted: tuple[np.ndarray, np.ndarray]
) -> None:
    stream = kind()
    monkeypatch.setattr(sys, "stderr", stream)
    model.predict(planted[1])
    nw.train("n2v", planted[1], steps=2, **SMALL)
    lines = stream.getvalue().split("\n")
    assert lines[-1] == "" and len(lines) == 3
    assert lines[0].startswith("\rdenoising") and lines[0].endswith("100 %, 0:00 left " + 24 * "#")
    assert lines[1].startswith("\rtraining") and "100 %" in lines[1]


@pytest.mark.parametrize("stream", [io.StringIO(), None])
def test_nothing_is_shown_elsewhere(
    monkeypatch: pytest.MonkeyPatch, stream: Any, model: nw.Model, planted: tuple[np.ndarray, np.ndarray]
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    model.predict(planted[1])
    assert stream is None or stream.getvalue() == ""
    monkeypatch.setattr(sys, "stderr", Terminal())
    model.predict(planted[1], report=quiet)
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]


@pytest.mark.parametrize("columns", ["1", "0", "-3", "30", "many"])
def test_a_line_is_redrawn_within_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    stream = Terminal()
    line = Line(stream)
    line(Stage("train", 0.5, Progress(50, 100, 0.1234, 65.0)))
    line(Stage("train", 1.0, Progress(100, 100, float("nan"), 0.0)))
    line.close()
    line.close()
    drawn = stream.getvalue().removesuffix("\n").split("\r")[1:]
    assert len(drawn) == 2 and len(drawn[1]) >= len(drawn[0])  # the second one covers the first
    assert columns != "30" or max(map(len, drawn)) == 29


def test_an_error_ends_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())

    def work() -> None:
        with showing(None) as report:
            report(Stage("predict", 0.5))
            raise Enough

    with pytest.raises(Enough):
        work()
    assert sys.stderr.getvalue().endswith("\n")  # type: ignore[attr-defined]


@pytest.mark.skipif(os.name == "nt", reason="there are no pseudo-terminals")
def test_a_real_terminal_shows_it(image: Path) -> None:
    import pty

    mine, theirs = pty.openpty()
    code = "import noisewise as nw; nw.train('n2v', 'cells.npy', steps=3, features=8, depth=1)"
    subprocess.run([sys.executable, "-c", code], stderr=theirs, check=True)
    os.close(theirs)
    shown = os.read(mine, 10_000).decode()
    os.close(mine)
    assert shown.startswith("\rtraining: ") and "100 %" in shown and shown.count("\n") == 1
