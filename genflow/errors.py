"""The errors that genflow raises for people: each is one line that says what came and what would do."""

__all__ = ["InputError", "Remark", "ResultError", "SolverError", "WriteError", "name_of_function", "reason"]


class InputError(ValueError):
    """A wrong input: an argument, a file, a table. The command line prints it and exits with 2."""


class Remark(UserWarning):
    """What a reader of a figure should know of its data or its model, in one line. The command line prints it."""


class ResultError(RuntimeError):
    """A result that is no number to be trusted, such as a likelihood that is not finite. The command line prints it and
    exits with 1."""


class SolverError(RuntimeError):
    """An integration that could not be finished: where, why, and the state that was reached.

    Args:
        message: One line that names time, step and reason.
        time: The time :math:`t` that was reached.
        state: The state at that time, or `None` where the solver does not hand it out.
        step: Size of the step that could not be taken, where there is one.
    """

    def __init__(self, message: str, time: float | None = None, state: object = None, step: float | None = None):
        super().__init__(message)
        self.time = time
        self.state = state
        self.step = step


class WriteError(OSError):
    """A file or a folder that could not be written: where, and why. What was there before is as it was.

    Args:
        number: The system's number of the error, such as `errno.ENOSPC`, where there is one.
        message: One line.
    """

    def __init__(self, number: int | None, message: str):
        super().__init__(number, message)

    def __str__(self) -> str:
        return str(self.strerror)


def name_of_function(function: object, unnamed: str = "the function") -> str:
    """What a message calls a function, or whatever else can be called.

    Args:
        function: Anything.
        unnamed: What one without a name is called.
    """
    return str(getattr(function, "__name__", unnamed))


def reason(error: BaseException) -> str:
    """Why something failed, in one line: an error for people as it is, any other behind the name of its class.

    Args:
        error: What was raised.

    Example:
        >>> reason(ZeroDivisionError("division by zero")), reason(InputError("rows: 1 came; 2 would do"))
        ('ZeroDivisionError: division by zero', 'rows: 1 came; 2 would do')
    """
    text = " ".join(str(error).split())
    text = text if len(text) <= 300 else text[:297] + "…"
    return text if isinstance(error, InputError | SolverError) and text else f"{type(error).__name__}: {text}"
