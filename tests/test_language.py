"""The language of the package: words that are not used in code, documents and help texts.

Each has a standard term instead: noise model, condition, output, warning, command, and so on.
"""

import ast
import re
from pathlib import Path

import pytest

from noisewise import methods
from noisewise.cli import commands, main

ROOT = Path(__file__).parents[1]
WORDS = (
    "told", "taught", "teaches", "lots", "law", "laws", "twin", "twins", "doubts", "caveats", "remarks", "tellers",
    "rungs", "hardness", "verb", "verbs",
)  # fmt: skip
COMMAND = re.compile(rf"\bnoisewise ({'|'.join(commands())})\b[^;:,]*")  # and its options
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
PATTERN = re.compile(rf"\b({'|'.join(WORDS)})\b", re.IGNORECASE)
EXEMPT = {ROOT / "docs" / "migration.md"}  # its table names what was renamed
FILES = sorted({*ROOT.glob("src/**/*.py"), *ROOT.glob("docs/**/*.md"), ROOT / "README.md"} - EXEMPT)


def found(text):
    """Lines with such words, and their numbers."""
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if PATTERN.search(line)]


def test_the_pattern_finds_whole_words_in_any_case():
    assert [len(found(text)) for text in ("The LAW.", "self.verb(x)", "lawn, twinkle", "in_laws = 1")] == [1, 1, 0, 0]


@pytest.mark.parametrize("folder", ["src", "docs", "README.md"])
def test_words_do_not_occur_in_code_and_documents(folder):
    files = [path for path in FILES if path.relative_to(ROOT).parts[0] == folder]
    assert files
    assert {str(path.relative_to(ROOT)): lines for path in files if (lines := found(path.read_text("utf-8")))} == {}


def messages(path):
    """(line, text) of the string literals of a module that are not docstrings; values in f-strings become {}."""
    tree = ast.parse(path.read_text("utf-8"))
    inside = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in node.values}
            yield (
                node.lineno,
                "".join(getattr(part, "value", "") if isinstance(part, ast.Constant) else "{}" for part in node.values),
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value


def bare_options(text):
    """Options of the command line in a text, without those of complete commands."""
    return OPTION.findall(COMMAND.sub("", text))


def test_bare_options_are_found():
    assert bare_options("give --axes, or use --dark") == ["--axes", "--dark"]
    assert bare_options("use: noisewise calibrate FRAMES --dark DARK -o NOISE; or leave out --offset") == ["--offset"]
    assert bare_options("as in: noisewise denoise IMAGE --method {} --samples 8") == []
    assert bare_options("noisewise unknown --axes") == ["--axes"]


def test_messages_for_shell_and_python_name_no_options_of_the_command_line():
    """Outside `cli`, messages are read from Python too: they name a setting, or show a complete command."""
    source = ROOT / "src" / "noisewise"
    paths = [path for path in sorted(source.glob("**/*.py")) if path.relative_to(source).parts[0] != "cli"]
    found = {f"{path.name}:{line}": text for path in paths for line, text in messages(path) if bare_options(text)}
    assert len(paths) > 100 and found == {}


def help_of(capsys, *arguments):
    capsys.readouterr()
    assert main([*arguments, "--help"]) == 0
    return capsys.readouterr().out


def test_words_do_not_occur_in_help(capsys):
    pages = [(), *((command,) for command in commands()), *(("train", name) for name in methods.modules())]
    texts = {" ".join(page): help_of(capsys, *page) for page in pages}
    assert all(len(text) > 200 for text in texts.values())
    assert {page: lines for page, text in texts.items() if (lines := found(text))} == {}
