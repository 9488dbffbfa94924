"""Imports run downward, nothing heavy loads early, every verb and every method explains itself."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import noisewise
from noisewise import cli, methods

ROOT = Path(noisewise.__file__).parent
DOCS = ROOT.parents[1] / "docs"
FILES = sorted(ROOT.rglob("*.py"))

# docs/architecture.md draws this. A unit may import those on lower levels, and itself.
LEVELS = (
    ("errors", "progress"),
    ("axes",),
    ("io",),
    ("container",),
    ("nets", "noise", "scenes", "posterior"),
    ("methods", "data"),
    ("train", "predict", "evaluate"),
    ("report", "zoo", "refine", "spread"),
    ("model",),
    ("budget", "laws"),
    ("denoise",),
    ("files", "demo"),
    ("cli", "napari"),
    ("__main__",),
)
HEAVY = {"torch", "numpy", "tyro", "rich", "zarr", "tifffile", "matplotlib", "pydantic"}
LEVEL = {unit: level for level, units in enumerate(LEVELS) for unit in units}


def module_name(path):
    parts = ("noisewise", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path, when_loaded=False):
    """Modules that a file imports: all, or those that are needed to load it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = set()
    for node in ast.walk(tree):
        types_only = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if when_loaded and (types_only or isinstance(node, ast.FunctionDef)):
            skipped.update(ast.walk(node))
    found = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def unit(module):
    """The part of the package that a module belongs to; None for the package itself and for others."""
    parts = module.split(".")
    return parts[1] if parts[0] == "noisewise" and len(parts) > 1 and parts[1] in LEVEL else None


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_run_downward(path):
    own = unit(module_name(path))
    if own is None:
        assert path.name == "__init__.py"  # the package's front door opens on everything, lazily
        return
    for module in imported(path):
        other = unit(module)
        if other is None or other == own:
            continue
        assert LEVEL[other] < LEVEL[own], f"{module_name(path)} imports {module}, which is not below it"


def test_every_part_has_its_level():
    for path in ROOT.iterdir():
        if path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py"))):
            assert path.stem in LEVEL or path.name == "__init__.py", f"{path.name} has no place in LEVELS"


def test_no_cycles():
    names = {module_name(path) for path in FILES}
    graph = {
        module_name(path): {
            target
            for module in imported(path, when_loaded=True)
            for target in (module, module.rpartition(".")[0])
            if target in names - {"noisewise", module_name(path)}
        }
        for path in FILES
        if path != ROOT / "__init__.py"
    }
    while free := {name for name, wanted in graph.items() if not wanted & set(graph)}:
        graph = {name: wanted for name, wanted in graph.items() if name not in free}
    assert not graph


@pytest.mark.parametrize("name", sorted(methods.modules()))
def test_methods_do_not_know_each_other(name):
    path = ROOT / "methods" / f"{name}.py"
    for module in imported(path):
        if module.startswith("noisewise.methods"):
            assert module.startswith(("noisewise.methods.base.", "noisewise.methods._")), f"{name} imports {module}"


@pytest.mark.parametrize(
    ("part", "banned"),
    [
        ("io", {"torch", "pydantic", "matplotlib"}),
        ("nets", {"numpy", "tifffile", "zarr", "pydantic"}),
        ("predict/plan.py", {"torch", "numpy", "zarr", "tifffile"}),
        ("axes.py", {"torch", "tifffile", "zarr"}),
    ],
)
def test_parts_stay_light(part, banned):
    for path in [ROOT / part] if part.endswith(".py") else (ROOT / part).rglob("*.py"):
        assert not {module.split(".")[0] for module in imported(path)} & banned, path


@pytest.mark.parametrize(
    ("code", "banned"),
    [
        ("import noisewise", HEAVY),
        ("import noisewise; dir(noisewise)", {"torch", "numpy"}),
        ("from noisewise import UserError", {"torch", "numpy"}),
        ("from noisewise.cli import main; main(['--help'])", HEAVY),
        ("from noisewise.cli import main; main(['--version'])", HEAVY),
        ("from noisewise.cli import main; main(['denoise', '--help'])", {"torch", "zarr", "matplotlib"}),
        ("from noisewise.cli import main; main(['train', '--help'])", {"torch", "zarr", "matplotlib"}),
        ("import noisewise.io", {"torch", "matplotlib"}),
        ("from noisewise.methods import modules; modules()", {"torch", "numpy"}),
    ],
)  # fmt: skip
def test_nothing_heavy_is_loaded_early(code, banned):
    script = f"{code}\nimport sys\nprint('LOADED', *({banned!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split() == ["LOADED"]


def test_public_names_stay_functions():
    """Importing `noisewise.train.loop` binds the folder to its package; `nw.train` must not become it."""
    code = (
        "import noisewise.train.loop, noisewise.workflow.denoise, noisewise as nw\n"
        "from noisewise.train import loop\n"
        "assert callable(nw.train) and callable(nw.denoise) and callable(loop.fit)\n"
        "assert all(getattr(nw, name) is not None for name in nw.__all__)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError):
        _ = noisewise.nonsense


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_are_short_and_say_what_they_are(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") < 400
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"


def test_the_story_fits_on_a_few_screens():
    assert (ROOT / "denoise.py").read_text(encoding="utf-8").count("\n") < 250


@pytest.mark.parametrize("name", sorted(methods.modules()))
def test_every_method_describes_itself(name):
    kind = methods.get(name)
    first = inspect.getdoc(kind).partition("\n")[0]
    assert first.endswith(".") and len(first) > 20
    assert kind.needs in ("noisy", "pairs", "clean")


def test_an_unknown_method_is_answered_with_the_nearest():
    with pytest.raises(noisewise.UserError, match="did you mean 'n2v'"):
        methods.get("n2vv")


@pytest.mark.parametrize("verb", cli.verbs())
def test_every_verb_is_explained(verb):
    assert cli.description(verb).endswith(".")
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {verb}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section, f"docs/cli.md has no section '## {verb}'"
    assert f"noisewise {verb}" in section[1]
    options = set(re.findall(r"^\W*(?:-\w[^-]*)?(--[a-z][a-z-]*)", usage(verb), re.MULTILINE)) - {"--help"}
    assert "--json" in options
    missing = sorted(option for option in options if f"`{option}" not in section[1])
    assert not missing, f"docs/cli.md does not explain {missing} of {verb}"


def usage(verb):
    """What `--help` prints."""
    import io
    from contextlib import redirect_stdout

    with redirect_stdout(io.StringIO()) as out:
        assert cli.main([verb, "--help"]) == 0
    return out.getvalue()


def test_the_drawing_is_the_tested_one():
    drawn = (DOCS / "architecture.md").read_text(encoding="utf-8")
    for name in LEVEL:
        assert re.search(rf"\b{name}\b", drawn) or name == "__main__", f"docs/architecture.md does not place {name}"
