"""`noisewise --install-completion [SHELL]`: completion of commands and options by the Tab key."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Union

from noisewise.cli._commands import class_name, commands
from noisewise.cli._exit import OK
from noisewise.cli._print import say
from noisewise.errors import UserError
from noisewise.io.files import as_user_error, drafted

SHELLS = ("bash", "zsh", "fish")
NEXT = {
    "bash": "open a new terminal; if Tab completes nothing there, add this line to ~/.bashrc: source '{file}'",
    "zsh": "add this line to ~/.zshrc and open a new terminal: fpath=('{folder}' $fpath); autoload compinit; compinit",
    "fish": "open a new terminal: fish reads the file by itself",
}
MARK = "__TYRO_COMPLETE_FILES__"
WITH_FILES = {
    "bash": (
        (f'if [[ "$completions" == "{MARK}" ]]', f'if [[ -z "$completions" || "$completions" == "{MARK}" ]]'),
        ('COMPREPLY=($(compgen -f -- "$cur"))', "COMPREPLY=()"),
        ("complete -F ", "complete -o default -F "),
    ),
    "zsh": ((f'if [[ "$completions" == "{MARK}" ]]', f'if [[ -z "$completions" || "$completions" == "{MARK}" ]]'),),
    "fish": ((f'if test "$results" = {MARK}', f'if test -z "$results"; or test "$results" = {MARK}'),),
}  # parts of tyro's scripts: file names are completed wherever no command or option fits


def install(arguments: list[str]) -> int:
    """Write the completion of a shell (default: the user's) where it looks for it, and say what to do next.

    Errors: `UserError` for other shells, or if the file cannot be written.
    """
    shell = shell_of(arguments)
    file = file_of(shell)
    with as_user_error(file, "cannot be written"):
        file.parent.mkdir(parents=True, exist_ok=True)
    with drafted(file, overwrite=True) as temporary:
        temporary.write_text(script(shell), encoding="utf-8")
    say(file)
    say(NEXT[shell].format(file=file, folder=file.parent), error=True)
    return OK


def shell_of(arguments: list[str]) -> str:
    """The shell that was given, or that of the user. Errors: `UserError`."""
    shell = arguments[0] if arguments else Path(os.environ.get("SHELL", "")).name
    if shell not in SHELLS or len(arguments) > 1:
        found = f"the shell '{' '.join(arguments) or shell}' has no completion here"
        raise UserError(f"{found}; give one of {', '.join(SHELLS)}, as in: noisewise --install-completion bash")
    return shell


def file_of(shell: str) -> Path:
    """Where a shell looks for the completion of `noisewise`."""
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    return {
        "bash": data / "bash-completion" / "completions" / "noisewise",
        "zsh": data / "zsh" / "site-functions" / "_noisewise",
        "fish": settings / "fish" / "completions" / "noisewise.fish",
    }[shell]


def script(shell: str) -> str:
    """The completion of all commands and their options, for a shell."""
    import tyro
    from tyro.conf import DisallowNone, FlagCreatePairsOff, subcommand

    kinds = [
        Annotated[getattr(import_module(f"{__package__}.{name}"), class_name(name)), subcommand(name)]
        for name in commands()
    ]
    every: Any = Union[tuple(kinds)]  # noqa: UP007  (of types that are known at run time)
    output = io.StringIO()
    try:
        with redirect_stdout(output):
            tyro.cli(
                every, prog="noisewise", args=["--tyro-print-completion", shell],
                config=(FlagCreatePairsOff, DisallowNone),
            )  # fmt: skip
    except SystemExit:  # raised after the script was printed
        pass
    text = output.getvalue()
    for found, instead in WITH_FILES[shell]:
        text = text.replace(found, instead)
    return text
