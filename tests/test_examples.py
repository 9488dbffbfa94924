"""The scripts in examples/: each imports what exists, states its command line, and plots its figure."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import noisewise

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
EVERY_EXAMPLE = pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.stem)
SECONDS = 300  # slow computers take two minutes for the longest


@EVERY_EXAMPLE
def test_an_example_imports_what_exists_and_states_its_command(script):
    text = script.read_text(encoding="utf-8")
    assert f"python examples/{script.name}" in text
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("noisewise"):
            module = import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name) or import_module(f"{node.module}.{alias.name}")
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "nw":
            assert node.attr in noisewise.__all__


@pytest.mark.slow
@EVERY_EXAMPLE
def test_an_example_plots_its_figure(script, tmp_path):
    from PIL import Image

    figure = tmp_path / "figure.png"
    subprocess.run([sys.executable, script, figure], cwd=tmp_path, check=True, timeout=SECONDS)
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]
    with Image.open(figure) as image:
        assert min(image.size) > 300
        assert image.convert("L").getextrema() == (0, 255)  # black text on white paper, at least
