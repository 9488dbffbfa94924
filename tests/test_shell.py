"""The command in a shell: completion by the Tab key, and terminals of every width."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from noisewise.cli import commands, main
from noisewise.cli._completion import MARK, SHELLS, WITH_FILES, script
from noisewise.cli._display import Display
from noisewise.cli._parse import usable_width
from noisewise.progress import Progress, Stage

PLACES = {
    "bash": ".local/share/bash-completion/completions/noisewise",
    "zsh": ".local/share/zsh/site-functions/_noisewise",
    "fish": ".config/fish/completions/noisewise.fish",
}
BASH = shutil.which("bash")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without any settings."""
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "SHELL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: tmp_path))
    return tmp_path


# -- completion ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("named", [True, False])
def test_completion_is_written_where_the_shell_reads_it(
    home: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, shell: str, named: bool
) -> None:
    monkeypatch.setenv("SHELL", "/bin/tcsh" if named else f"/usr/bin/{shell}")
    for _ in range(2):  # an older file is replaced
        assert main(["--install-completion", *[shell] * named]) == 0
    file = home / PLACES[shell]
    printed = capsys.readouterr()
    assert printed.out == f"{file}\n" * 2 and "new terminal" in printed.err
    text = file.read_text(encoding="utf-8")
    assert all(f"'{command}'" in text for command in commands()) and "--skip-existing" in text
    assert [path for path in home.rglob("*") if path.is_file()] == [file]


def test_folders_of_settings_are_respected(home: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "settings"))
    assert main(["--install-completion", "fish"]) == 0
    assert (home / "settings" / "fish" / "completions" / "noisewise.fish").exists()


@pytest.mark.parametrize("arguments", [["tcsh"], ["bash", "zsh"], []])
def test_other_shells_are_refused(home: Path, capsys: Any, arguments: list[str]) -> None:
    assert main(["--install-completion", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "give one of bash, zsh, fish" in error
    assert not list(home.iterdir())


def test_a_folder_that_cannot_be_written_is_one_sentence(home: Path, capsys: Any) -> None:
    (home / ".local").write_text("a file")
    assert main(["--install-completion", "bash"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_complete_file_names_where_nothing_else_fits(shell: str) -> None:
    text = script(shell)
    assert MARK in text and all(instead in text for _, instead in WITH_FILES[shell])
    assert "noisewise" in text


@pytest.mark.skipif(BASH is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["den"], ["denoise"]),
        (["m"], ["measure", "methods"]),
        (["denoise", "--over"], ["--overwrite"]),
        (["denoise", "cells.tif", "--skip"], ["--skip-existing"]),
        (["denoise", "cel"], []),  # left to bash, which completes file names
    ],
)
def test_bash_completes(home: Path, words: list[str], completed: list[str]) -> None:
    assert main(["--install-completion", "bash"]) == 0
    line = " ".join(f"'{word}'" for word in ["noisewise", *words])
    code = (
        f"source '{home / PLACES['bash']}'; complete -p noisewise; COMP_WORDS=({line}); COMP_CWORD={len(words)}; "
        f"_tyro_noisewise; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run([str(BASH), "-c", code], capture_output=True, text=True, check=True)
    registered, *found = done.stdout.splitlines()
    assert registered == "complete -o default -F _tyro_noisewise noisewise"
    assert sorted(filter(None, found)) == completed and done.stderr == ""


# -- width of the terminal -------------------------------------------------------------------------

WIDTHS = ["1", "0", "5", "-3", "999999999999", "many", ""]


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("arguments", [["--help"], ["denoise", "--help"], ["train", "n2v", "--help"]])
def test_help_in_terminals_of_any_width(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, columns: str, arguments: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "noisewise" in printed and len(printed) < 40_000
    assert os.environ["COLUMNS"] == columns


@pytest.mark.parametrize("columns", WIDTHS)
def test_errors_and_progress_in_terminals_of_any_width(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["denoise", "--skip-existin"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "see noisewise denoise --help" in error
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Display(quiet=False) as display:
        display(Stage("train", 0.5, Progress(50, 100, 0.1234, 65.0)))
        display(Stage("predict", 1.0))


def test_the_width_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    with usable_width():
        assert 40 <= int(os.environ["COLUMNS"]) <= 160
    assert "COLUMNS" not in os.environ
