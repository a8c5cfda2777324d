"""The error with which bad input ends a run."""


class UserError(Exception):
    """
    Error that the user can fix: one sentence that says what is wrong and how to fix it.

    The program prints it on rank 0 alone and leaves with `exit_code`.
    """

    exit_code = 2

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class RunError(UserError):
    """Error of a run that came to its end and failed all the same."""

    exit_code = 1
