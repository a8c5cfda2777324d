"""The one way in which bad input ends a run."""


class UserError(Exception):
    """
    Something the user can mend: the message is one sentence that says what and how.

    The program prints it on rank 0 alone and leaves with `exit_code`.
    """

    exit_code = 2

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
