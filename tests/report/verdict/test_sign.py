"""What is said of signed maps."""

from interpbench.report.verdict.sign import sign_text
from tests.report.page.pages import board_evidence
from tests.synthetic_tables import SIGNED, board_of

ROWS = (("a", "deletion", "x", 0.1, 1, "a"), ("a", "deletion", "y", 0.2, 1, "a"))


def test_methods_most_of_whose_maps_are_signed_are_named() -> None:
    board = board_evidence(*ROWS, signed=[0.5, 0.49]).board
    assert sign_text(board).startswith("Maps of x hold negative values. These come last")
    [name] = SIGNED
    assert sign_text(board_of(images=12)).startswith(f"Maps of {name} hold")


def test_nothing_is_said_where_nothing_is_known() -> None:
    assert sign_text(board_evidence(*ROWS).board) == ""
    assert sign_text(board_evidence(*ROWS, signed=1.0, sign="").board) == ""
    assert sign_text(board_evidence(*ROWS, signed=0.1).board) == ""
