"""What is said of signed maps."""

from interpbench.report.verdict.sign import sign_text
from interpbench.suite.protocol import SIGN
from tests.report.page.pages import board_evidence
from tests.synthetic_tables import SIGNED, board_of

ROWS = (("a", "deletion", "x", 0.1, 1, "a"), ("a", "deletion", "y", 0.2, 1, "a"))


def test_methods_most_of_whose_maps_are_signed_are_named() -> None:
    board = board_evidence(*ROWS, signed=[0.5, 0.49]).board
    assert sign_text(board).startswith(
        "Maps of x hold negative values. By deletion these come last"
    )
    [name] = SIGNED
    assert sign_text(board_of(images=12)).startswith(f"Maps of {name} hold")


def test_nothing_is_said_where_nothing_is_known() -> None:
    assert sign_text(board_evidence(*ROWS).board) == ""
    assert sign_text(board_evidence(*ROWS, signed=1.0, sign="").board) == ""
    assert sign_text(board_evidence(*ROWS, signed=0.1).board) == ""


def test_what_the_sign_does_is_told_where_both_were_scored() -> None:
    rows = [
        ("a", metric, method, mean, 1, "a")
        for metric, means in {
            "insertion:steps=4": (0.25, 0.5),
            "insertion:sign=absolute,steps=4": (0.75, 0.5),
            "deletion": (0.1, 0.2),
        }.items()
        for method, mean in zip("xy", means, strict=True)
    ]
    signs = [SIGN, SIGN, "by magnitude", "by magnitude", SIGN, SIGN]
    board = board_evidence(*rows, signed=[1.0, 0.0] * 3, sign=signs).board
    text = sign_text(board)
    assert "By insertion:steps=4 and deletion these come last" in text
    assert "insertion:sign=absolute asks for that." in text
    told = "Mean insertion:steps=4 by how the sign is taken: "
    assert text.endswith(told + "x 0.250 (negatives last) and 0.750 (by magnitude).")
