"""The error for users."""


class UserError(ValueError):
    """An input cannot be used; the message says what is wrong, in which file, and what to do.

    The command line prints it as one `error: ...` line and exits with 2.
    """
