"""The one exception that means "the input is wrong", shown to the user as a single line."""


class InputError(Exception):
    """Wrong input from the user: a file, a row, a flag or a checkpoint.

    The message is one line that names the culprit. The command line prints it and exits with 2.
    """
