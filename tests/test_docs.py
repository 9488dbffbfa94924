"""The documents say what is true: marked code runs, commands exist, links lead somewhere, generated parts are current.

A fenced block below `<!-- run -->` is run: Python, or lines that begin with `noisewise`. The blocks of a page follow
one another in a folder with the images that they name. Trainings take two steps, or none from packaged weights.
"""

import ast
import importlib.util
import io
import pkgutil
import re
import shlex
from contextlib import chdir, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import tifffile

import noisewise as nw
from noisewise import cli, scenes

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
BLOCK = re.compile(r"(?P<run><!-- run -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)
WRITES = {"denoise", "train", "predict", "measure", "calibrate", "simulate"}


def blocks(path, language, marked=True):
    found = BLOCK.finditer(path.read_text(encoding="utf-8"))
    return [block["code"] for block in found if block["language"] == language and (block["run"] or not marked)]


def commands(code):
    """The arguments of the lines that call noisewise."""
    lines = code.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("noisewise ")]


def pages_with(language):
    """Pages with code to run; those of single methods, whose code is alike, only in `make test-all`."""
    return [
        pytest.param(
            page, id=page.relative_to(ROOT).as_posix(),
            marks=pytest.mark.slow if page.parent.name == "methods" else (),
        )
        for page in PAGES
        if blocks(page, language)
    ]  # fmt: skip


@pytest.fixture
def images(tmp_path):
    """A folder with the images that the documents name: 64 x 64, and ten frames of a static scene."""
    signal, rng = 300 + 100 * scenes.draw("nuclei", (64, 64), seed=1).numpy(), np.random.default_rng(0)
    for name in ("cells", "a", "b"):
        tifffile.imwrite(tmp_path / f"{name}.tif", rng.normal(signal, 15).round().astype(np.uint16))
    tifffile.imwrite(tmp_path / "truth.tif", signal)
    tifffile.imwrite(tmp_path / "masks.tif", (1 + (np.arange(64) > 31) + np.zeros((64, 1))).astype(np.uint8))
    photons = np.tile(np.linspace(2, 200, 64), (64, 1))
    for name, light in (("frames", 1), ("dark", 0)):
        frames = nw.Camera(gain=2.2, read_noise=1.6, offset=100).expose(light * photons, frames=10, seed=light)
        tifffile.imwrite(tmp_path / f"{name}.tif", frames, metadata={"axes": "TYX"})
    with chdir(tmp_path):
        yield tmp_path


# -- code that runs ----------------------------------------------------------------------------------


class FewSteps(ast.NodeTransformer):
    """`denoise` uses packaged weights as they are, `train` takes two steps."""

    def visit_Call(self, node):
        self.generic_visit(node)
        steps = {"nw.denoise": 0, "nw.train": 2}.get(ast.unparse(node.func))
        if steps is not None:
            kept = [keyword for keyword in node.keywords if keyword.arg not in ("budget", "steps")]
            node.keywords = [*kept, ast.keyword("steps", ast.Constant(steps))]
        return node


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_blocks_run(page, images):
    names = {}
    for code in blocks(page, "python"):
        tree = ast.fix_missing_locations(FewSteps().visit(ast.parse(code)))
        exec(compile(tree, str(page), "exec"), names)


def quick(arguments):
    """The same command with few training steps, that replaces what exists."""
    if "--budget" in arguments:
        at = arguments.index("--budget")
        arguments = arguments[:at] + arguments[at + 2 :]
    command, given = arguments[0], set(arguments)
    pretrained = command == "demo" or (command == "denoise" and not {"--method", "--samples", "--mode"} & given)
    if pretrained or "simulated" in arguments:
        arguments = [*arguments, "--budget", "1s"]  # which leaves no time for training
    elif command in ("denoise", "train"):
        arguments = [*arguments, "--steps", "2"]
    if command in WRITES and not {"--overwrite", "--resume", "--skip-existing"} & given:
        arguments = [*arguments, "--overwrite"]
    return arguments


@pytest.mark.parametrize("page", pages_with("bash"))
def test_commands_run(page, images, capsys):
    for code in blocks(page, "bash"):
        for arguments in commands(code):
            status = cli.main(quick(arguments))
            assert status == 0, f"noisewise {shlex.join(arguments)}: {capsys.readouterr().err}"


# -- commands that are only shown --------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_all_commands_exist(page):
    """Commands and options of every block, also of those that do not run."""
    for language in ("bash", "text"):
        for code in blocks(page, language, marked=False):
            for arguments in commands(code):
                assert arguments[0].startswith("-") or arguments[0] in cli.commands()
                known = usage(arguments)
                for option in arguments[1:]:
                    if option.startswith("--"):
                        assert f"{option} " in known or f"{option}\n" in known, f"{arguments}: no option {option}"


def usage(arguments):
    """The help of a command; of `train`, with the settings of the method."""
    asked = arguments[:2] if arguments[0] == "train" else arguments[:1]
    with redirect_stdout(io.StringIO()) as out:
        assert cli.main([*asked, "--help"] if asked[0] != "--help" else asked) == 0
    return out.getvalue() + " --help --version "


# -- links and generated parts -----------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]*)?\)", page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_names_of_the_package_exist(page):
    """Of migration.md those on the right: what is used now."""
    lines = page.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line.split(" | ")[-1] for line in lines) if page.stem == "migration" else "\n".join(lines)
    for name in re.findall(r"(?:^::: |`)(noisewise(?:\.\w+)+)", text, re.MULTILINE):
        pkgutil.resolve_name(name)


def test_generated_parts_are_current():
    """`make docs` writes them."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert not generate.navigation_errors()
    for path, text in generate.pages():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is not current; run make docs"
