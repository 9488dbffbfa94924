"""The one error that users are meant to read."""


class UserError(ValueError):
    """The input cannot be used; the message says what is wrong, where, and what to do.

    The command line prints it as one `error: ...` line and exits with 2.
    """
