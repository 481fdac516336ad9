"""What was measured, put together to the tables that the answer rests on."""

from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from interpbench.core.errors import ParameterError
from interpbench.core.seeding import derive
from interpbench.results.run_info import MetricInfo
from interpbench.results.statistics import bootstrap_interval
from interpbench.results.tables import RunTables
from interpbench.studies.advise.race import DEAR, FAILED, TIME, WORSE, Dropped
from interpbench.studies.advise.rules import Rules
from interpbench.studies.advise.wins import compared, rival_row, wins
from interpbench.studies.sanity.verdict import INSENSITIVE
from interpbench.studies.stability.settings import Setting
from interpbench.studies.stability.survey import ALL, scores_of, survey

METHODS, SETTINGS, PAIRS = "methods.csv", "settings.csv", "pairs.csv"
PLACES, SURVIVAL = "places.csv", "survival.csv"
ROUNDS, SUMMARY = "rounds.csv", "summary.csv"
CONTROL, USE, ONE_OF, NOT_BETTER, FAILS = (
    "control",
    "use",
    "cannot be told apart",
    "not shown better than a control",
    "fails sanity",
)


@dataclass(frozen=True, eq=False)
class Measured:
    """All that was measured.

    Attributes:
        scores: one row an image, method and metric: method, metric, sample_id, value.
        metrics: label -> what it is.
        cells: one row a method: method, role, status, reason, seconds of maps (`map_seconds`) and
            of scoring (`scoring_seconds`) and of how many `images`.
        finalists: methods, best first, that reached the end of the race; controls not among them.
        rivals: these, and the best of those that were shown to be worse, if they are few.
        dropped: method -> why it did not.
        settings: metrics that the rivals were scored by in the last round.
        sanity: of `sanity.verdict.verdicts`; empty if there was no time.
        sanity_images: how many they were.
        passes: method -> forward and backward passes and windows an image, of finalists.
        rounds: one row a round: round, images (new ones), methods, seconds, dropped, ended.
        seed: of the run.
    """

    scores: pd.DataFrame
    metrics: Mapping[str, MetricInfo]
    cells: pd.DataFrame
    finalists: Sequence[str]
    rivals: Sequence[str]
    dropped: Mapping[str, Dropped]
    settings: Sequence[str] = ()
    sanity: pd.DataFrame = field(default_factory=pd.DataFrame)
    sanity_images: int = 0
    passes: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    rounds: pd.DataFrame = field(default_factory=pd.DataFrame)
    seed: int = 0

    @property
    def controls(self) -> list[str]:
        """Those that have scores."""
        named = self.cells.loc[self.cells["role"] == "control", "method"]
        return sorted(set(named) & set(self.scores["method"]))


@dataclass(frozen=True, eq=False)
class Findings:
    """The tables that the answer is read from, and who it is.

    Attributes:
        tables: file -> table; the first column of each is its key.
        recommended: the methods that cannot be told apart, the cheapest first; none if undecided.
        leader: the usable finalist that wins most; "" without any.
    """

    tables: Mapping[str, pd.DataFrame]
    recommended: tuple[str, ...]
    leader: str


def find(measured: Measured, rules: Rules) -> Findings:
    """Concludes."""
    reference = [*measured.rivals, *measured.controls]
    won = wins(measured.scores, measured.metrics, rules.families, reference)
    pairs = compared(won, measured.seed, rules.level)
    survived = _survey(measured, rules)
    sanity = {row["method"]: row for row in measured.sanity.to_dict("records")}
    means = won.mean().reindex(measured.finalists).dropna()
    standing = sorted(means.index, key=lambda name: (-means[name], name))
    usable = [name for name in standing if not _fails(sanity.get(name, {}))]
    leader = usable[0] if usable else ""
    tied = _not_worse(pairs, leader, usable)
    sound = [name for name in tied if _beats_all(pairs, name, measured.controls)]
    methods = _methods(measured, won, pairs, leader, sanity)
    cost = methods.set_index("method")["ms"]
    recommended = tuple(
        sorted(sound if leader in sound else (), key=lambda name: (cost[name], name))
    )
    methods["advice"] = [
        _advice(row, recommended, tied, measured) for row in methods.to_dict("records")
    ]
    firsts = survived[SETTINGS]["leader"].value_counts()
    methods["first_under"] = [int(firsts.get(name, 0)) for name in methods["method"]]
    summary = _summary(measured, methods, survived[SETTINGS], won, recommended, leader)
    tables = {
        METHODS: methods,
        PAIRS: pairs,
        **survived,
        ROUNDS: measured.rounds,
        SUMMARY: summary,
    }
    return Findings(tables, recommended, leader)


def images_needed(methods: pd.DataFrame) -> pd.Series:
    """Method -> how many images would tell it from the leader, the fewest first.

    Of those that cannot be told from it and may be better: no control, nothing that is out.

    Parameters:
        methods: the table METHODS.
    """
    rows = methods[methods["than_leader"] == "undecided"].set_index("method")
    rows = rows[~rows["advice"].isin([CONTROL, WORSE, FAILED, FAILS])]
    return rows["images_leader"].dropna().sort_values(kind="stable")


def _not_worse(pairs: pd.DataFrame, leader: str, methods: Sequence[str]) -> list[str]:
    """Of the methods those that are not shown to be worse than the leader, itself among them."""
    lost = set(pairs.loc[pairs["better"] == leader, "other"])
    return [name for name in methods if name not in lost]


def _beats_all(pairs: pd.DataFrame, method: str, controls: Sequence[str]) -> bool:
    """Whether there are controls, and a method is shown to be better than each."""
    beaten = set(pairs.loc[pairs["better"] == method, "other"])
    return bool(controls) and beaten >= set(controls)


def _fails(checked: Mapping[Hashable, object]) -> bool:
    """Whether the sanity checks find a method insensitive to the model or to the class."""
    return INSENSITIVE in (checked.get("model"), checked.get("class"))


def _survey(measured: Measured, rules: Rules) -> dict[str, pd.DataFrame]:
    """How the rivals and controls stand under each setting, and which conclusions survive.

    SETTINGS has a row a setting, PLACES one a setting and method, SURVIVAL one for every two
    methods; see `stability.survey.Survey`. Settings that too few scores were given by are left out.
    """
    field_of = [*measured.rivals, *measured.controls]
    rows = measured.scores[measured.scores["method"].isin(field_of)]
    rows = rows.assign(dataset="", model="")
    tables = RunTables.of_scores(rows, measured.metrics, measured.seed, rules.level)
    scored = []
    for metric in measured.settings:
        base, _, changed = metric.partition(":")
        with suppress(ParameterError):
            scored.append(scores_of(Setting(metric, base, changed, metric), tables))
    columns = {
        SETTINGS: ["setting", "images", "leader", "told_apart", "pairs"],
        PLACES: ["row", "setting", "method", "cost", "place"],
        SURVIVAL: ["row", "method", "other", "settings", "better", "worse", "undecided", "verdict"],
    }
    if not scored:
        return {name: pd.DataFrame(columns=names) for name, names in columns.items()}
    found = survey(scored, measured.seed)
    survival = found.survival[found.survival["scope"] == ALL]
    frames = {
        SETTINGS: found.settings,
        PLACES: found.means.assign(row=found.means["setting"] + " / " + found.means["method"]),
        SURVIVAL: survival.assign(row=survival["method"] + " / " + survival["other"]),
    }
    return {name: frame[columns[name]].reset_index(drop=True) for name, frame in frames.items()}


def _methods(
    measured: Measured,
    won: pd.DataFrame,
    pairs: pd.DataFrame,
    leader: str,
    sanity: Mapping[str, Mapping[Hashable, object]],
) -> pd.DataFrame:
    """A row a method, those that win most first."""
    best_control = _best(won, measured.controls)
    rows = []
    for cell in measured.cells.to_dict("records"):
        method = cell["method"]
        mine = won[method].dropna().to_numpy() if method in won else np.array([])
        low, high = bootstrap_interval(mine, seed=derive(measured.seed, "wins", method))
        checked = sanity.get(method, {})
        dropped = measured.dropped.get(method)
        forwards, backwards, windows = measured.passes.get(method, (np.nan,) * 3)
        rows.append(
            {
                "method": method,
                "role": cell["role"],
                "advice": "",
                "reason": cell["reason"] or (dropped.reason if dropped else ""),
                "images": mine.size,
                "wins": mine.mean() if mine.size else np.nan,
                "low": max(low, 0.0),
                "high": min(high, 1.0),
                "ms": 1000 * cell["map_seconds"] / cell["images"] if cell["images"] else np.nan,
                "forward_passes": forwards,
                "backward_passes": backwards,
                "windows": windows,
                **_against(pairs, method, leader, "leader"),
                **_against(pairs, method, best_control, "control"),
                "new_weights": checked.get("all_layers", np.nan),
                "other_class": checked.get("random_logit", np.nan),
                "sanity_model": checked.get("model", ""),
                "sanity_class": checked.get("class", ""),
            }
        )
    table = pd.DataFrame(rows)
    return table.sort_values(["wins", "method"], ascending=[False, True], ignore_index=True)


def _best(won: pd.DataFrame, methods: Sequence[str]) -> str:
    """Who of them wins most; "" of none."""
    means = won.mean().reindex(list(methods)).dropna()
    return min(means.index, key=lambda name: (-means[name], name)) if len(means) else ""


def _against(pairs: pd.DataFrame, method: str, other: str, name: str) -> dict[str, object]:
    """p after Holm's correction, whether it is better or worse, and images needed to tell."""
    pair = rival_row(pairs, method, other) if method != other else None
    if pair is None:
        return {f"p_{name}": np.nan, f"than_{name}": "", f"images_{name}": np.nan}
    than = "better" if pair["better"] == method else "worse" if pair["better"] else "undecided"
    return {
        f"p_{name}": pair["p_holm"],
        f"than_{name}": than,
        f"images_{name}": pair["images_needed"],
    }


def _advice(
    row: Mapping[str, object], recommended: Sequence[str], tied: Sequence[str], measured: Measured
) -> str:
    """What is to be done with a method, in one of a few words."""
    method = str(row["method"])
    dropped = measured.dropped.get(method)
    if row["role"] == "control":
        return CONTROL
    if method in recommended:
        return USE if len(recommended) == 1 else ONE_OF
    if INSENSITIVE in (row["sanity_model"], row["sanity_class"]):
        return FAILS
    if dropped is not None and dropped.why != WORSE:
        return dropped.why
    if method in tied or row["than_control"] in ("worse", "undecided"):
        return NOT_BETTER
    return WORSE


def _summary(
    measured: Measured,
    methods: pd.DataFrame,
    settings: pd.DataFrame,
    won: pd.DataFrame,
    recommended: Sequence[str],
    leader: str,
) -> pd.DataFrame:
    """Counts and names that no single method has: columns key, value, text."""
    of_role = methods[methods["role"] != "control"]
    counted = of_role["advice"].value_counts()
    counts = {
        "methods": len(of_role),
        "controls": len(methods) - len(of_role),
        "scored": int((of_role["images"] > 0).sum()),
        "finalists": len(measured.finalists),
        "recommended": len(recommended),
        "images": len(won),
        "settings": len(settings),
        "settings_images": int(settings["images"].max()) if len(settings) else 0,
        "sanity_images": measured.sanity_images,
        **{f"count: {advice}": int(counted.get(advice, 0)) for advice in _ADVICE},
    }
    rows = [{"key": key, "value": value, "text": ""} for key, value in counts.items()]
    names = {
        "leader": leader,
        "cheapest": recommended[0] if recommended else "",
        "best control": _best(won, measured.controls),
    }
    rows += [{"key": key, "value": np.nan, "text": text} for key, text in names.items()]
    return pd.DataFrame(rows, columns=["key", "value", "text"])


_ADVICE = (USE, ONE_OF, WORSE, NOT_BETTER, FAILS, FAILED, DEAR, TIME)
