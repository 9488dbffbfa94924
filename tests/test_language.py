"""The language of the package: words that are not used in code, documents and help texts.

Each has a standard term instead: noise model, condition, output, warning, command, and so on.
"""

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


def help_of(capsys, *arguments):
    capsys.readouterr()
    assert main([*arguments, "--help"]) == 0
    return capsys.readouterr().out


def test_words_do_not_occur_in_help(capsys):
    pages = [(), *((command,) for command in commands()), *(("train", name) for name in methods.modules())]
    texts = {" ".join(page): help_of(capsys, *page) for page in pages}
    assert all(len(text) > 200 for text in texts.values())
    assert {page: lines for page, text in texts.items() if (lines := found(text))} == {}
