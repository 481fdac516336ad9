"""Nothing malformed gives a traceback or a number: whatever is wrong is refused, and whatever is right is taken.

A few of each kind by default; the long campaign tries 2,000 and prints how many.
"""

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interpbench.core.errors import InterpBenchError
from interpbench.loading.stated import named_preparation
from interpbench.loading.weights import WeightsCard
from interpbench.publish.boards import read_board
from interpbench.registry.discovery import discover
from interpbench.registry.spec import parse_specs
from interpbench.report.page.leaderboard_csv import of_csv
from interpbench.results.leaderboard import conclude
from interpbench.suite.suite import Suite, load_suite
from interpbench.training.recipe import load_recipe
from tests import malformed
from tests.command_line import BASE, call
from tests.synthetic_tables import synthetic_tables

FEW = 25  # of each kind, by default
MANY = {
    "suites": 400,
    "preparations": 200,
    "recipes": 200,
    "cards": 400,
    "boards": 300,
    "texts": 150,
}
Check = Callable[[object], str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("handed-in")


@pytest.fixture(scope="module")
def board() -> list[list[str]]:
    """The cells of a leaderboard that is right."""
    tables = synthetic_tables(
        methods=("center", "saliency", "gradcam"), metrics=("deletion",), images=6
    )
    text = conclude(tables)["leaderboard"].to_csv(index=False)
    return list(csv.reader(io.StringIO(text)))


def outcome(take: Callable[[], object], right: bool, what: object) -> str:
    """Whether it was taken or refused; fails where that is wrong. Anything but an InterpBenchError passes on."""
    try:
        take()
    except InterpBenchError as error:
        message, outcome = str(error), "refused"
    else:
        message, outcome = "", "taken"
    assert (outcome == "taken") == right, f"{outcome}: {what!r:.500} {message}"
    assert len(message) < 3000, message
    assert "\x1b" not in message
    return outcome


def of_settings(load: Callable[[str], object], folder: Path) -> Check:
    path = folder / "settings.toml"

    def check(case: object) -> str:
        text, right = case
        path.write_text(text, encoding="utf-8")
        return outcome(lambda: load(str(path)), right, text)

    return check


def of_card(case: object) -> str:
    text, right = case

    def take() -> None:
        try:
            card = WeightsCard.from_json(text)
        except ValueError as error:  # which the reader of the file makes an error of
            raise InterpBenchError(str(error)) from None
        assert WeightsCard.from_json(card.as_json()) == card
        assert all(math.isfinite(value) for value in (*card.mean, *card.std))

    return outcome(take, right, text)


def of_board(folder: Path) -> Check:
    path = folder / "board.csv"

    def check(case: object) -> str:
        text, right = case
        path.write_text(text, encoding="utf-8", newline="")
        first = outcome(lambda: read_board(path), right, text)
        assert outcome(lambda: of_csv(path), right, text) == first
        if right:
            [n, mean] = [read_board(path)[column].tolist() for column in ("n", "mean")]
            rows = list(csv.DictReader(io.StringIO(text)))
            assert n == [int(row["n"]) for row in rows]
            assert mean == pytest.approx([float(row["mean"]) for row in rows], rel=1e-9)
        return first

    return check


def of_text(case: object) -> str:
    """Any text at all as a plugin: it means one that can be typed again, or is refused."""
    registry = discover()
    try:
        for name, values in parse_specs([str(case)]):
            choice = registry.configure("method", name, values)
            [(again, typed)] = parse_specs([choice.label])
            assert (
                registry.configure("method", again, typed).parameters_json == choice.parameters_json
            )
    except InterpBenchError:
        return "refused"
    return "taken"


TEXTS = st.text() | st.from_regex(
    r"(occlusion|rise|saliency):[a-z]*=[0-9a-z.,:=\"-]*", fullmatch=True
)


def kinds(folder: Path, board: list[list[str]]) -> dict[str, tuple[st.SearchStrategy, Check]]:
    """What is handed in, and how it is checked."""
    return {
        "suites": (malformed.settings_files(malformed.SUITE), of_settings(load_suite, folder)),
        "preparations": (
            malformed.settings_files(malformed.PREPARATION),
            of_settings(named_preparation, folder),
        ),
        "recipes": (malformed.settings_files(malformed.RECIPE), of_settings(load_recipe, folder)),
        "cards": (malformed.cards(), of_card),
        "boards": (malformed.boards(board), of_board(folder)),
        "texts": (TEXTS, of_text),
    }


def tried(strategy: st.SearchStrategy, check: Check, count: int) -> Counter[str]:
    """How many of about so many inputs were taken and refused."""
    outcomes: Counter[str] = Counter()

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def test(case: object) -> None:
        outcomes[check(case)] += 1

    test()
    return outcomes


@pytest.mark.parametrize("kind", sorted(MANY))
def test_what_is_right_is_taken_and_the_rest_refused(
    kind: str, folder: Path, board: list[list[str]]
) -> None:
    outcomes = tried(*kinds(folder, board)[kind], FEW)
    assert outcomes["refused"] > 3, outcomes
    assert kind == "texts" or outcomes["taken"] > 1, outcomes


@pytest.mark.parametrize(
    ("kind", "text"), malformed.WRONG_IN_SPECS, ids=lambda value: str(value)[:30]
)
def test_a_plugin_with_a_wrong_value_is_refused(kind: str, text: str) -> None:
    def take() -> None:
        [(name, values)] = parse_specs([text])
        discover().configure(kind, name, values)

    try:
        assert outcome(take, False, text) == "refused"
    except ValueError:  # no plugin at all
        assert parse_specs([text]) == []


def right_arguments(command: str, output: Path) -> list[str]:
    one = ["--weights", "random", "--output", str(output)]
    tiny = ["quadrants", "--dataset", "tiny", "--plugin", BASE[5]]
    return {
        "run": [*BASE, *one, "--method", "saliency", "--metric", "deletion", "--images", "2"],
        "gallery": [*BASE, *one],
        "sanity": [*BASE, *one, "--method", "saliency"],
        "advise": [*BASE, *one, "--method", "saliency", "--images", "2"],
        "doctor": [*tiny, "--weights", "random"],
        "train": [
            "--model",
            *tiny,
            "--epochs",
            "1",
            "--output",
            str(output.with_suffix(".safetensors")),
        ],
        "conformance": ["--output", str(output), "--model", "quadrants", "--method", "saliency"],
    }[command]


def command_lines(output: Path) -> Iterator[tuple[str, ...]]:
    yield from malformed.WRONG_ALONE
    for command, flags in malformed.WRONG_IN_COMMANDS.items():
        for flag, values in flags.items():
            yield from (
                (command, *right_arguments(command, output), flag, value) for value in values
            )


def refuses(arguments: tuple[str, ...]) -> str:
    code, out, error = call(*arguments)
    assert code == 2, (arguments, out, error)
    assert "Traceback" not in error
    assert "\x1b" not in error
    return "refused"


def test_commands_refuse_what_they_cannot_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every eleventh of the campaign's command lines."""
    monkeypatch.chdir(tmp_path)
    for arguments in list(command_lines(tmp_path / "out"))[::11]:
        refuses(arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_long_campaign(
    folder: Path,
    board: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcomes: Counter[str] = Counter()
    for kind, (strategy, check) in kinds(folder, board).items():
        outcomes += tried(strategy, check, MANY[kind])
    for kind, text in malformed.WRONG_IN_SPECS:
        test_a_plugin_with_a_wrong_value_is_refused(kind, text)
        outcomes["refused"] += 1
    monkeypatch.chdir(folder)
    for arguments in command_lines(folder / "out"):
        outcomes[refuses(arguments)] += 1
    assert outcomes.total() >= 2000
    with capsys.disabled():
        print(
            f"\n{outcomes.total()} malformed and right inputs: {dict(outcomes)}, no traceback, no wrong number."
        )


def test_suites_that_are_taken_say_what_the_file_says(folder: Path) -> None:
    """Read by an independent reader: tomllib, field by field."""
    import tomllib

    @settings(max_examples=FEW, deadline=None, database=None, derandomize=True)
    @given(malformed.settings_files(malformed.SUITE).filter(lambda case: case[1]))
    def test(case: tuple[str, bool]) -> None:
        (folder / "mine.toml").write_text(case[0], encoding="utf-8")
        suite = load_suite(str(folder / "mine.toml"))
        for key, value in tomllib.loads(case[0]).items():
            read = getattr(suite, key)
            assert (list(read) if isinstance(read, tuple) else read) == value

    test()
    assert set(malformed.SUITE) | {"description"} == set(Suite.model_fields)


def test_a_board_of_200_000_rows_is_refused_at_once(folder: Path, board: list[list[str]]) -> None:
    header, *rows = board
    lines = [",".join(header), *[",".join(rows[0])] * 200_000]
    (folder / "long.csv").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(InterpBenchError, match=r"more than 100000 rows.*leaderboard CSV"):
        of_csv(folder / "long.csv")
