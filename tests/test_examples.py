"""Every script in examples/ runs as it says it does, and draws its figure."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
SECONDS = 300  # slow machines take two minutes for the longest


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_draws_its_figure(script, tmp_path):
    from PIL import Image

    picture = tmp_path / "figure.png"
    subprocess.run([sys.executable, script, picture], cwd=tmp_path, check=True, timeout=SECONDS)
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]
    with Image.open(picture) as image:
        assert min(image.size) > 300
        assert image.convert("L").getextrema() == (0, 255)  # black text on white paper, at least
    assert f"python examples/{script.name}" in script.read_text(encoding="utf-8")
