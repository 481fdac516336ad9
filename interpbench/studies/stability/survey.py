"""How far rankings made under different settings agree, and which conclusions survive all."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from interpbench.core.errors import ParameterError
from interpbench.core.seeding import derive
from interpbench.results.comparison import comparisons
from interpbench.results.tables import RunTables
from interpbench.studies.stability.settings import BASE, IMAGES, Setting

RESAMPLES = 999
SURVIVES, PARTLY, DEPENDS, UNDECIDED = "survives", "not in all", "depends", "undecided"
ALL = "all"


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of one setting.

    Attributes:
        setting: which.
        costs: float64, an image a row, a method a column; lower is better.
        pairs: of every two methods, see `comparison.comparisons`.
    """

    setting: Setting
    costs: pd.DataFrame
    pairs: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Survey:
    """What rankings under different settings say together.

    Attributes:
        settings: a row a setting: setting, base, factor, images, leader (the best mean), told_apart
            (pairs of methods in which one was shown to be better), pairs.
        means: a row a setting and method: setting, method, cost (mean score, the sign turned where
            higher is better), place (1 is the best mean).
        taus: a row for every two settings: setting, other, tau (Kendall's tau-b of the methods'
            mean scores), low and high (95 %, over images), both (pairs of methods told apart by
            both), turned (of these, the other way round).
        conclusions: a row for every two methods and setting: method, other, setting, better (which
            was shown to be, or "").
        survival: a row for every two methods and scope (a metric's name, or all): scope, method,
            other (the one that more settings showed to be better comes first), settings, better,
            worse, undecided (numbers of settings), verdict: SURVIVES (shown by all), PARTLY (by
            some, by none the other way), DEPENDS (both ways) or UNDECIDED (by none).
    """

    settings: pd.DataFrame
    means: pd.DataFrame
    taus: pd.DataFrame
    conclusions: pd.DataFrame
    survival: pd.DataFrame


def scores_of(setting: Setting, tables: RunTables) -> Scores:
    """The scores of a setting, from the run that has them: of one model, on the images that all
    methods scored. Methods that scored none of them are left out.

    Raises:
        ParameterError: if fewer than two methods, or images, have scores.
    """
    rows = tables.scores[tables.scores["metric"] == setting.metric].dropna(subset=["value"])
    if setting.half is not None:
        ids = sorted(set(rows["sample_id"]))
        rows = rows[rows["sample_id"].isin(ids[setting.half - 1 :: 2])]
    part = RunTables.of_scores(rows, tables.metrics, tables.seed, tables.level)
    wide = part.blocks[0].wide().dropna() if part.blocks else pd.DataFrame()
    if wide.shape[1] < 2 or len(wide) < 2:
        raise ParameterError(
            f"{setting.name}: {wide.shape[1]} methods have scores on {len(wide)} images. A ranking "
            "takes two of each at least."
        )
    lower = tables.metrics[setting.metric].lower_is_better
    return Scores(setting, wide if lower else -wide, comparisons(part))


def survey(scored: Sequence[Scores], seed: int = 0, resamples: int = RESAMPLES) -> Survey:
    """Compares the rankings of the methods that every setting has.

    Parameters:
        scored: of each setting, the scores.
        seed: of the resamples of images. Settings with the same images share them.
        resamples: how many.
    """
    methods = sorted(set.intersection(*(set(each.costs.columns) for each in scored)))
    scored = [
        Scores(each.setting, each.costs[methods], _among(each.pairs, methods)) for each in scored
    ]
    conclusions = pd.concat([_concluded(each) for each in scored], ignore_index=True)
    return Survey(
        settings=pd.DataFrame([_described(each) for each in scored]),
        means=pd.concat([_means(each) for each in scored], ignore_index=True),
        taus=_taus(scored, seed, resamples),
        conclusions=conclusions,
        survival=_survival(conclusions, {each.setting.name: each.setting for each in scored}),
    )


def kendall(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of each row of two arrays [R,methods]; NaN where a row is all ties."""
    a, b = _signs(first), _signs(second)
    both = np.sqrt((a != 0).sum(1, dtype=float) * (b != 0).sum(1, dtype=float))
    with np.errstate(invalid="ignore"):
        return np.asarray((a * b).sum(1) / both)


def _signs(values: np.ndarray) -> np.ndarray:
    """Which of every two methods has more, float32 [R,pairs] of -1, 0, 1."""
    pairs = np.array(list(combinations(range(values.shape[1]), 2)))
    return np.sign(values[:, pairs[:, 0]] - values[:, pairs[:, 1]]).astype(np.float32)


def _among(pairs: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    return pairs[pairs["method"].isin(methods) & pairs["other"].isin(methods)]


def _described(scores: Scores) -> dict[str, object]:
    means = scores.costs.mean()
    return {
        "setting": scores.setting.name,
        "base": scores.setting.base,
        "factor": scores.setting.factor,
        "images": len(scores.costs),
        "leader": means.idxmin(),
        "told_apart": int((scores.pairs["better"] != "").sum()),
        "pairs": len(scores.pairs),
    }


def _means(scores: Scores) -> pd.DataFrame:
    means = scores.costs.mean()
    return pd.DataFrame(
        {
            "setting": scores.setting.name,
            "method": means.index,
            "cost": means.to_numpy(),
            "place": means.rank().to_numpy(),
        }
    )


def _concluded(scores: Scores) -> pd.DataFrame:
    """Every two methods in the order of their names, and which was shown to be better."""
    pairs = scores.pairs
    names = np.sort(pairs[["method", "other"]].to_numpy(dtype=str), axis=1)
    return pd.DataFrame(
        {
            "method": names[:, 0],
            "other": names[:, 1],
            "setting": scores.setting.name,
            "better": pairs["better"].to_numpy(),
        }
    ).sort_values(["method", "other"], ignore_index=True)


def _taus(scored: Sequence[Scores], seed: int, resamples: int) -> pd.DataFrame:
    means = [each.costs.mean().to_numpy()[None] for each in scored]
    resampled = [_resampled(each.costs, seed, resamples) for each in scored]
    shown = [_concluded(each)["better"].to_numpy() for each in scored]
    rows = []
    for i, j in combinations(range(len(scored)), 2):
        taus = kendall(resampled[i], resampled[j])
        low, high = np.nanquantile(taus, [0.025, 0.975])
        both = (shown[i] != "") & (shown[j] != "")
        rows.append(
            {
                "setting": scored[i].setting.name,
                "other": scored[j].setting.name,
                "tau": float(kendall(means[i], means[j])[0]),
                "low": float(low),
                "high": float(high),
                "both": int(both.sum()),
                "turned": int((both & (shown[i] != shown[j])).sum()),
            }
        )
    return pd.DataFrame(rows)


def _resampled(values: pd.DataFrame, seed: int, resamples: int) -> np.ndarray:
    """The methods' means in resamples of the images [R,methods]; the same for the same images."""
    ordered = values.sort_index()
    rng = np.random.default_rng(derive(seed, "stability", *map(str, ordered.index)))
    count = len(ordered)
    weights = rng.multinomial(count, np.full(count, 1 / count), size=resamples) / count
    return np.asarray(weights @ ordered.to_numpy())


def _survival(conclusions: pd.DataFrame, settings: dict[str, Setting]) -> pd.DataFrame:
    metrics = list(dict.fromkeys(setting.base for setting in settings.values()))
    base_of = conclusions["setting"].map(lambda name: settings[name].base)
    scopes = [(metric, conclusions[base_of == metric]) for metric in metrics]
    scopes = [(ALL, conclusions), *scopes] if len(metrics) > 1 else [(ALL, conclusions)]
    rows = [
        {"scope": scope, **_survived(str(first), str(second), list(shown["better"]))}
        for scope, part in scopes
        for (first, second), shown in part.groupby(["method", "other"], sort=True)
    ]
    return pd.DataFrame(rows)


def _survived(first: str, second: str, better: list[str]) -> dict[str, object]:
    """What became of a pair of methods, of which each setting showed one to be better, or none."""
    if better.count(second) > better.count(first):
        first, second = second, first
    won, lost = better.count(first), better.count(second)
    return {
        "method": first,
        "other": second,
        "settings": len(better),
        "better": won,
        "worse": lost,
        "undecided": len(better) - won - lost,
        "verdict": DEPENDS
        if lost
        else SURVIVES
        if won == len(better)
        else PARTLY
        if won
        else UNDECIDED,
    }


def by_factor(found: Survey) -> pd.DataFrame:
    """What each factor does to the ranking: a row a factor, the most harmful first.

    Columns: factor, settings (that differ from their base in it; both halves of the images are
    compared with each other), tau (mean, to the base), least (the least of them), turned (pairs
    shown one way by the base, and the other way), lost (shown by the base, and by the setting not).
    """
    bases = found.settings.set_index("setting")["base"].to_dict()
    shown = found.conclusions.pivot_table(
        index=["method", "other"], columns="setting", values="better", aggfunc="first"
    )
    factors = [factor for factor in dict.fromkeys(found.settings["factor"]) if factor != BASE]
    rows = []
    for factor in factors:
        names = found.settings.loc[found.settings["factor"] == factor, "setting"].tolist()
        partner = _partners(names, bases, halves=factor == IMAGES)
        taus = [_tau(found.taus, one, other) for one, other in partner]
        turned = sum(
            int(((shown[one] != shown[other]) & (shown[one] != "") & (shown[other] != "")).sum())
            for one, other in partner
        )
        lost = sum(int(((shown[other] != "") & (shown[one] == "")).sum()) for one, other in partner)
        rows.append(
            {
                "factor": factor,
                "settings": len(names),
                "tau": float(np.mean(taus)),
                "least": float(np.min(taus)),
                "turned": turned,
                "lost": lost,
            }
        )
    return pd.DataFrame(rows).sort_values("tau", kind="stable", ignore_index=True)


def _partners(names: list[str], bases: dict[str, str], *, halves: bool) -> list[tuple[str, str]]:
    """Each setting with what it is compared with."""
    if not halves:
        return [(name, bases[name]) for name in names]
    return list(zip(names[::2], names[1::2], strict=True))


def _tau(taus: pd.DataFrame, one: str, other: str) -> float:
    names = {one, other}
    row = taus[[{a, b} == names for a, b in zip(taus["setting"], taus["other"], strict=True)]]
    return float(row["tau"].iloc[0])
