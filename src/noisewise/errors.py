"""The error for users."""


class UserError(ValueError):
    """An input cannot be used; the message says what is wrong, in which file, and what to do.

    The command line prints it as one `error: ...` line and exits with 2.
    """


class NeedsTraining(UserError):
    """A method cannot be used without a training step."""


def counted(number: int, noun: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def one_line(text: str, limit: int = 160) -> str:
    """Shorten a library's message to one line of bounded length."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def check_seed(seed: int) -> None:
    """Errors: `UserError` for a number that is not a random seed."""
    if not 0 <= seed < 2**63:
        raise UserError(f"seed {seed} is not a random seed; give 0 or a positive whole number")
