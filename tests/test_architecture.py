"""The house keeps its shape: imports run downward, nothing heavy loads early, all explain themselves."""

import ast
import inspect
import io
import re
import subprocess
import sys
import tokenize
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path

import pytest

import noisewise
from noisewise import cli, methods
from noisewise.methods.base import Method, Traits

ROOT = Path(noisewise.__file__).parent
DOCS = ROOT.parents[1] / "docs"
FILES = sorted(ROOT.rglob("*.py"))
FRONT_DOOR = ROOT / "__init__.py"  # opens on everything, lazily, by name

# docs/architecture.md draws this. A unit may import those on lower levels, and itself.
LEVELS = (
    ("control_group",),
    ("errors", "progress", "registry", "threads", "version"),
    ("axes",),
    ("io", "quantities"),
    ("container", "posterior"),
    ("noise", "scenes", "nets"),
    ("estimate", "calibration"),
    ("methods", "evaluate", "data", "testing"),
    ("train", "predict"),
    ("model",),
    ("foreign",),
    ("workflow",),
    ("plots",),
    ("report", "quantify"),
    ("zoo",),
    ("cli", "napari"),
    ("__main__",),
)
HEAVY = {"torch", "numpy", "tyro", "zarr", "tifffile", "matplotlib", "pydantic"}
LEVEL = {unit: level for level, units in enumerate(LEVELS) for unit in units}
MOST_CODE_LINES = 23_500  # raise it for features, not for convenience
LONGEST_CHAIN = 14
METHOD_NAMES = {"n2v", "pn2v", "r2r", "n2n", "hdn", "cosdd", "divnoising", "structN2V"}


@cache
def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def module_name(path):
    parts = ("noisewise", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path) for path in FILES}


@cache
def imported(path):
    """All modules that a file imports, also lazily and for types only."""
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def targets(path):
    """Modules of the package that a file imports."""
    candidates = (module if module in NAMES else module.rpartition(".")[0] for module in imported(path))
    return {name for name in candidates if name in NAMES} - {"noisewise", module_name(path)}


GRAPH = {module_name(path): targets(path) for path in FILES if path != FRONT_DOOR}


def unit(module):
    """The part of the package that a module belongs to; None for the package itself and for others."""
    parts = module.split(".")
    return parts[1] if parts[0] == "noisewise" and len(parts) > 1 and parts[1] in LEVEL else None


# -- imports -----------------------------------------------------------------------------------------


def test_imports_run_downward():
    upward = [
        f"{name} imports {other}"
        for name, others in GRAPH.items()
        for other in others
        if unit(other) != unit(name) and not LEVEL[unit(other)] < LEVEL[unit(name)]
    ]
    assert not upward


def test_every_part_has_its_level():
    for path in ROOT.iterdir():
        if path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py"))):
            assert path.stem in LEVEL or path.name == "__init__.py", f"{path.name} has no place in LEVELS"


def test_no_cycles_and_no_long_chains():
    """Lazy and type-only imports count."""
    graph, chain = dict(GRAPH), 0
    while free := {name for name, wanted in graph.items() if not wanted & set(graph)}:
        graph = {name: wanted for name, wanted in graph.items() if name not in free}
        chain += 1
    assert not graph, f"import each other: {sorted(graph)}"
    assert chain <= LONGEST_CHAIN


@pytest.mark.parametrize("name", sorted(methods.modules()))
def test_methods_do_not_know_each_other(name):
    allowed = ("noisewise.methods.base.", "noisewise.methods._", "noisewise.methods.losses.")
    for module in imported(ROOT / "methods" / f"{name}.py"):
        if module.startswith("noisewise.methods"):
            assert module.startswith(allowed), f"{name} imports {module}"


def test_only_the_workflow_knows_which_methods_there_are():
    """Lower rooms state properties; no message of theirs names a method."""
    for path in FILES:
        level = LEVEL.get(unit(module_name(path)), len(LEVELS))
        if level >= LEVEL["workflow"]:
            continue
        documents = {
            id(node.value) for node in ast.walk(tree_of(path))
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }  # fmt: skip
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
                assert not METHOD_NAMES & set(re.findall(r"\w+", node.value)) or node.value == "n2v2", (
                    f"{path}:{node.lineno} names a method: {node.value!r}"
                )


def test_figures_are_drawn_in_one_room():
    for path in FILES:
        if unit(module_name(path)) not in ("plots", "report", "zoo", "cli"):
            assert not any(module.startswith(("matplotlib", "noisewise.plots")) for module in imported(path)), path


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


# -- sizes -------------------------------------------------------------------------------------------


def functions():
    """(where, function) of all functions."""
    for path in FILES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node


def body_length(function):
    """Lines of a function without its docstring."""
    first = function.body[0]
    document = ast.get_docstring(function, clean=False)
    documented = 0 if document is None else first.end_lineno - first.lineno + 1
    return function.end_lineno - function.lineno + 1 - documented


def test_functions_are_short():
    lengths = {where: body_length(function) for where, function in functions()}
    assert sorted(lengths.values())[int(0.9 * len(lengths))] <= 18
    assert not {where: length for where, length in lengths.items() if length > 45}


def test_functions_take_few_arguments():
    counts = {where: len(function.args.args) + len(function.args.kwonlyargs) for where, function in functions()}
    first = {where: function.args.args[:1] for where, function in functions()}
    counts = {
        where: count - any(argument.arg in ("self", "cls") for argument in first[where])
        for where, count in counts.items()
    }  # fmt: skip
    assert not {where: count for where, count in counts.items() if count > 10}


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_are_short_and_say_what_they_are(path):
    assert path.read_text(encoding="utf-8").count("\n") < 350
    assert ast.get_docstring(tree_of(path)), f"{path} has no docstring"


def test_the_package_stays_small():
    assert sum(map(code_lines, FILES)) <= MOST_CODE_LINES


def code_lines(path):
    """Lines that hold code: neither blank, nor comment, nor docstring."""
    silent = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    found = set()
    with path.open(encoding="utf-8") as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type not in silent:
                found.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found -= set(range(node.lineno, node.end_lineno + 1))
    return len(found)


def test_a_method_has_few_members():
    assert sorted(name for name in dir(Method) if not name.startswith("_")) == sorted(
        ["network", "features", "depth", "joint_channels", "spatial", "patch_size", "batch_size", "learning_rate",
         "default_steps", "traits", "build", "loss", "posterior", "sampler", "fit_samples"]
    )  # fmt: skip


# -- everything explains itself ----------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(methods.modules()))
def test_every_method_describes_itself(name):
    kind = methods.get(name)
    first = inspect.getdoc(kind).partition("\n")[0]
    assert first.endswith(".") and len(first) > 20
    assert isinstance(kind().traits, Traits) and kind().traits.needs in ("noisy", "pairs", "clean")


def test_an_unknown_method_is_answered_with_the_nearest():
    with pytest.raises(noisewise.UserError, match="did you mean 'n2v'"):
        methods.get("n2vv")


@pytest.mark.parametrize("command", cli.commands())
def test_every_command_is_explained(command):
    assert cli.description(command).endswith(".")
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {command}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section, f"docs/cli.md has no section '## {command}'"
    assert f"noisewise {command}" in section[1]
    options = set(re.findall(r"^\W*(?:-\w[^-]*)?(--[a-z][a-z0-9-]*)", usage(command), re.MULTILINE)) - {"--help"}
    assert "--json" in options
    missing = sorted(option for option in options if f"`{option}" not in section[1])
    assert not missing, f"docs/cli.md does not explain {missing} of {command}"


def usage(command):
    """What `--help` prints."""
    with redirect_stdout(io.StringIO()) as out:
        assert cli.main([command, "--help"]) == 0
    return out.getvalue()


def test_the_drawing_is_the_tested_one():
    drawn = (DOCS / "architecture.md").read_text(encoding="utf-8")
    for name in LEVEL:
        assert re.search(rf"\b{name}\b", drawn) or name in ("__main__", "version", "registry"), (
            f"docs/architecture.md does not place {name}"
        )
