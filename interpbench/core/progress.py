"""How work gets on, told to whoever wants to know."""


class Progress:
    """Told how work gets on. The command line's draws a bar; this one is silent."""

    def begin(self, total: int) -> None:
        """A piece of work starts, of so many images."""

    def advance(self, what: str, images: int = 0) -> None:
        """This is going on, and so many images more are done."""

    def note(self, said: str) -> None:
        """Something has happened that is worth a line of its own."""


SILENT = Progress()
