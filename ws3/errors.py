"""The error that a user's mistake raises."""


class Ws3Error(Exception):
    """A mistake that the user can mend.

    The message is one clear sentence: which file or key, what is wrong, what to do. The command
    line prints it without a traceback and exits with status 2.
    """


class StaleResultError(Ws3Error):
    """A stored result is missing, incomplete or made from other inputs than the run's own.

    The message names the image and the command that repairs it.
    """
