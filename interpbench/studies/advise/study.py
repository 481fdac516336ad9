"""The race run within a budget: rounds, the settings, the sanity checks, and the answer."""

import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from interpbench.core.errors import ParameterError, RunFolderError
from interpbench.files.atomic import write_text_atomically
from interpbench.files.csv_files import write_csv
from interpbench.files.output_folder import Destination, OutputFolder
from interpbench.files.records import Record
from interpbench.files.versions import versions
from interpbench.results.mean_difference import fewest_images
from interpbench.studies.advise.answer import Answer
from interpbench.studies.advise.bench import Bench
from interpbench.studies.advise.elsewhere import (
    measured_elsewhere,
    refuse_too_many,
    with_statements,
)
from interpbench.studies.advise.findings import Findings, Measured, find
from interpbench.studies.advise.page import page
from interpbench.studies.advise.plot import draw
from interpbench.studies.advise.race import TIME, WORSE, Dropped, next_round, shown_worse, too_dear
from interpbench.studies.advise.rounds import FOLDER, RoundRecord, Rounds
from interpbench.studies.advise.rules import Rules
from interpbench.studies.advise.wins import compared, wins

COMMAND, PAGE, CLAIMS, PLOT = "advice", "advice.html", "advice.csv", "cost.png"
SETTINGS = "settings"  # the last round's name
SANITY = "sanity"  # the folder of the checks
LATE = 0.75  # share of what is left after the race at which no method is begun under settings
TOLD = 0.95  # share of the budget at which tables and page are written
UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds_of(budget: str) -> float:
    """`90`, `90s`, `10m` or `1.5h` in seconds.

    Raises:
        ParameterError: if it is nothing of the kind.
    """
    found = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)([smh]?)", budget.strip(), re.ASCII)
    if found is None or not float(found[1]):
        raise ParameterError(
            f"The budget {budget!r} is no length of time: give seconds, or 90s, 10m or 1.5h."
        )
    return float(found[1]) * UNITS[found[2]]


class AdviceRecord(Record):
    """advice.json: what was asked, by which rules, and every decision."""

    dataset: str
    model: str
    methods: tuple[str, ...]
    target: str
    seed: int
    most_images: int | None
    budget: float
    rules: Rules
    versions: dict[str, str]
    rounds: tuple[RoundRecord, ...] = ()
    finalists: tuple[str, ...] = ()
    recommended: tuple[str, ...] = ()
    seconds: float = 0.0
    lines: tuple[str, ...] = ()


# What must be the same where it goes on.
ASKED = (
    "dataset", "model", "methods", "target", "seed", "most_images", "budget", "rules", "versions",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Advice:
    """Which method for a model and its images, and what that rests on.

    Attributes:
        lines: the answer.
        claims: a row a piece of a line: its text, and the table, row and column of its value.
        tables: file -> table: methods, pairs, settings, places, survival, rounds, summary.
        recommended: methods that cannot be told apart, the cheapest first; none if undecided.
        folder: where it lies.
        page: the answer as a page.
        record: how it was found.
    """

    lines: tuple[str, ...]
    claims: pd.DataFrame
    tables: Mapping[str, pd.DataFrame]
    recommended: tuple[str, ...]
    folder: Path
    page: Path
    record: AdviceRecord

    def __repr__(self) -> str:
        """The answer, and where the rest is."""
        return "\n".join([*self.lines, f"In {self.folder}"])


def advise(
    bench: Bench,
    rules: Rules,
    budget: float,
    *,
    images: int | None = None,
    others: int | None = None,
    to: Destination = Destination(),
    resume: bool = False,
    started: float | None = None,
) -> Advice:
    """Races the methods, asks the finalists more, and answers.

    Parameters:
        bench: the model, the data and the methods.
        rules: how it goes on.
        budget: seconds.
        images: that may be used at most; None for all.
        others: images that the answer is held against when it is there, beyond the budget; None
            for none.
        to: where everything goes.
        resume: whether rounds that lie there are taken as they are.
        started: when the budget began, by `time.monotonic`; None for now.

    Raises:
        InterpBenchError: if the input is wrong, or the budget ends before a method is scored.
    """
    started = time.monotonic() if started is None else started
    record = AdviceRecord.complete(
        dataset=bench.dataset,
        model=bench.model,
        methods=bench.methods,
        target=bench.target,
        seed=bench.seed,
        most_images=images,
        budget=budget,
        rules=rules,
        versions=versions(),
    )
    before = _before(to, record) if resume else ()
    ids = bench.ids(images)
    bench.refuse_wrong_input()
    if others is not None:
        refuse_too_many(bench, others)
    record = record.model_copy(update={"rounds": before})
    folder = Destination(to.path, to.overwrite or resume).open(
        COMMAND, f"{bench.dataset}-{bench.model}", record
    )
    folder.resumable = True
    if not resume:
        for name in (FOLDER, SANITY):
            shutil.rmtree(folder.path / name, ignore_errors=True)
    with folder:
        rounds = Rounds(bench, folder, budget, started, before)
        finalists = _race(rounds, rules, ids)
        rivals = [*finalists, *_beaten(rounds, rules, finalists)]
        settings = _under_settings(rounds, rules, ids, rivals)
        sanity, checked = _check(rounds, rules, ids, finalists)
        measured = Measured(
            scores=rounds.scores,
            metrics=rounds.metrics,
            cells=rounds.cells,
            finalists=finalists,
            rivals=rivals,
            dropped=rounds.dropped,
            settings=settings,
            sanity=sanity,
            sanity_images=checked,
            passes=_passes(rounds, ids, finalists),
            rounds=rounds.table,
            seed=bench.seed,
        )
        record = record.model_copy(update={"finalists": tuple(finalists)})
        found, seconds = find(measured, rules), rounds.spent
        advice = _written(found, rounds, record, folder, seconds)
        if others is not None:
            elsewhere = measured_elsewhere(measured, rounds, rules, others)
            found = with_statements(found, elsewhere, rules)
            advice = _written(found, rounds, record, folder, seconds)
        return advice


def _before(to: Destination, record: AdviceRecord) -> tuple[RoundRecord, ...]:
    """The rounds that are finished already.

    Raises:
        ParameterError: if no folder is named.
        RunFolderError: if it holds none, or they answer another question.
    """
    if to.path is None or to.overwrite:
        raise ParameterError("To resume, name the folder with --output; leave --overwrite out.")
    file = to.path / f"{COMMAND}.json"
    try:
        recorded = AdviceRecord.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise RunFolderError(
            f"{to.path} holds no advice that could go on: {file.name} is missing or not valid. "
            "Start afresh, without --resume."
        ) from error
    differing = [name for name in ASKED if getattr(recorded, name) != getattr(record, name)]
    if differing:
        raise RunFolderError(
            f"{to.path} holds other advice: {', '.join(differing)} differ. Resume with the command "
            "that began it, or start afresh with --overwrite or another --output."
        )
    return recorded.rounds


def _race(rounds: Rounds, rules: Rules, ids: Sequence[str]) -> list[str]:
    """Plays rounds until time, images or questions are out; the finalists, best first."""
    asked: Sequence[str] = rounds.bench.everybody
    count, used, until = rules.first, 0, rules.race * rounds.budget
    for number in range(1, rules.rounds + 1):
        rounds.play(str(number), asked, ids[used : used + count], until)
        used += count
        going, out = _standing(rounds, rules)
        until = rules.race * rounds.budget
        if not _images_under_settings(rounds, rules, ids, going[: rules.finalists], until):
            until = rules.race_alone * rounds.budget
        means = rounds.means(until)
        if number == 1:
            pairs = len(going) * (len(going) - 1) / 2
            enough = fewest_images(rules.level_of_a_look / max(1, pairs))
            each = {name: means.each[name] for name in going}
            dear = too_dear(each, enough, rules.dear * until)
            out += dear if len(dear) < len(going) else []  # of all, it says nothing of any
        gone = {each.method for each in out}
        going = [name for name in going if name not in gone]
        left = max(0, len(ids) - used)
        coming = next_round(
            going, min(rules.growth * count, left), means, rules.finalists, rules.fewest
        )
        ended = "" if coming.images else coming.reason
        if len(going) < 2:
            ended = "no other method was left"
        elif number == rules.rounds:
            ended = "all its rounds were run"
        if ended:
            left_behind = going[rules.finalists :]
            last = [Dropped(name, TIME, "not first when the race ended") for name in left_behind]
            rounds.decide([*out, *last], ended)
            return going[: rules.finalists]
        rounds.decide([*out, *coming.dropped])
        behind = {each.method for each in coming.dropped}
        going = [name for name in going if name not in behind]
        asked, count = [*rounds.controls, *going], coming.images
    raise AssertionError("the last round ends the race")


def _standing(rounds: Rounds, rules: Rules) -> tuple[list[str], list[Dropped]]:
    """The methods that are still in the race, best first, and those shown to be worse."""
    controls = rounds.controls
    scores = rounds.scores
    going = sorted(set(scores["method"]) - set(controls) - set(rounds.dropped))
    won = wins(scores, rounds.metrics, rules.families, [*going, *controls])
    won = won[[*going, *controls]]
    means = won.mean()
    standing = sorted(going, key=lambda name: (-means[name], name))
    pairs = compared(won, rounds.bench.seed, rules.level_of_a_look)
    return standing, shown_worse(pairs, standing) if standing else []


def _beaten(rounds: Rounds, rules: Rules, finalists: Sequence[str]) -> list[str]:
    """The best of those that were shown to be worse, as far as finalists are few.

    What is best otherwise may be worse under another setting.
    """
    worse = [name for name, why in rounds.dropped.items() if why.why == WORSE]
    won = wins(rounds.scores, rounds.metrics, rules.families, [*finalists, *rounds.controls]).mean()
    best = sorted(worse, key=lambda name: (-won[name], name))
    return best[: max(0, rules.finalists - len(finalists))] if finalists else []


def _under_settings(
    rounds: Rounds, rules: Rules, ids: Sequence[str], finalists: Sequence[str]
) -> list[str]:
    """Scores methods by all settings, on images that are new as far as there are any.

    Returns:
        The metrics; none if there was no time.
    """
    count = _images_under_settings(rounds, rules, ids, finalists, rounds.spent_then)
    if not count:
        return []
    metrics = [*rounds.metrics, *rules.settings]
    used = sum(len(record.images) for record in rounds.records)
    chosen = [*ids[used:], *ids[:used]][:count]
    until = rounds.spent_then + LATE * (rounds.budget - rounds.spent_then)
    rounds.play(SETTINGS, [*rounds.controls, *finalists], chosen, until, metrics)
    rounds.decide([])
    return metrics


def _images_under_settings(
    rounds: Rounds, rules: Rules, ids: Sequence[str], finalists: Sequence[str], begin: float
) -> int:
    """How many images there is time for, if that round begins after so many seconds; or 0."""
    if not finalists:
        return 0
    own = len(rounds.metrics)
    lasting = rules.settings_share * (rounds.budget - begin)
    means = rounds.means(rounds.spent_then + lasting, (own + len(rules.settings)) / own)
    return next_round(finalists, len(ids), means, len(finalists), rules.fewest).images


def _check(
    rounds: Rounds, rules: Rules, ids: Sequence[str], finalists: Sequence[str]
) -> tuple[pd.DataFrame, int]:
    """What the sanity checks say of the finalists, and on how many images, as time allows."""
    means = rounds.means(TOLD * rounds.budget)
    cells = rounds.cells.set_index("method")
    maps = sum(cells.loc[name, "map_seconds"] / cells.loc[name, "images"] for name in finalists)
    each = (1 + len(rules.sanity_tests)) * maps
    affordable = int((means.seconds - 2 * means.once) / each) if each else 0
    count = min(rules.sanity_images, len(ids), affordable)
    if count < 2:
        return pd.DataFrame(), 0
    checked = rounds.bench.check(finalists, count, rules, rounds.folder.path / SANITY)
    return checked.verdicts, count


def _passes(
    rounds: Rounds, ids: Sequence[str], finalists: Sequence[str]
) -> dict[str, tuple[float, float, float]]:
    """Passes of a map of each finalist, if there is time to count them."""
    means = rounds.means(TOLD * rounds.budget)
    left = TOLD * rounds.budget - rounds.spent
    if not finalists or left < 2 * means.once + 4 * sum(means.each[name] for name in finalists):
        return {}
    return rounds.bench.passes(finalists, ids[:2], rounds.folder.path / FOLDER / "passes")


def _written(
    found: Findings,
    rounds: Rounds,
    record: AdviceRecord,
    folder: OutputFolder,
    seconds: float,
) -> Advice:
    """The tables, the answer, the plot, the page and the record."""
    answer = Answer(found)
    for name, table in found.tables.items():
        folder.write(name, partial(write_csv, table))
    folder.write(CLAIMS, partial(write_csv, answer.table))
    title = f"{rounds.bench.model} on {rounds.bench.dataset}"
    folder.write(PLOT, partial(draw, found, title))
    record = record.model_copy(
        update={
            "rounds": tuple(rounds.records),
            "recommended": found.recommended,
            "lines": answer.lines,
        }
    )
    text = page(answer, found, record, folder.path / PLOT, title)
    folder.write(PAGE, partial(write_text_atomically, text=text))
    record = record.model_copy(update={"seconds": seconds})
    folder.record = record
    return Advice(
        answer.lines, answer.table, found.tables, found.recommended, folder.path,
        folder.path / PAGE, record,
    )  # fmt: skip
