"""Looking at the scores while images are still added, and stopping once the best is told apart.

Whoever tests again and again finds something in the end: at 5 % each time, five looks at methods
that do not differ stop wrongly far more often than that. So each look has its share of the 5 %
(Bonferroni; Pocock's bounds, Biometrika 1977, are a little wider but hold for sums of normal
differences that come in equal steps, which these are not): whatever the scores, the methods, and
how they hang together, the chance of any wrong difference in any look is at most 5 %.
"""

from dataclasses import replace

from interpbench.results.comparison import comparisons
from interpbench.results.tables import LEVEL, RunTables

FIRST = 64  # images before the first look; fewer tell next to nothing apart


def looks(most: int) -> tuple[int, ...]:
    """After how many images one looks: ever twice as many, and at the end.

    Parameters:
        most: images that there may be.
    """
    numbers: list[int] = []
    while FIRST * 2 ** len(numbers) < most:
        numbers.append(FIRST * 2 ** len(numbers))
    return (*numbers, most)


def level_of(planned: tuple[int, ...]) -> float:
    """The level of significance of each look; without any looks that of a single one, 5 %.

    Parameters:
        planned: see `looks`.
    """
    return LEVEL / max(1, len(planned))


def undecided(tables: RunTables) -> list[str]:
    """Who cannot be told apart from the best yet: `random by deletion on resnet18`.

    The best is the method, or control, with the best mean by a metric on a model; it counts as
    found once its difference to every other is significant at the tables' level after Holm's
    correction. What has fewer than two scored methods is decided.

    Parameters:
        tables: of the images so far, all scored by the same methods.
    """
    missing = []
    pairs = comparisons(tables, ranked=False)
    for (_, model, metric), of_group in pairs.groupby(["dataset", "model", "metric"], sort=False):
        worse = set(of_group["other"])
        [best] = (set(of_group["method"]) - worse) or {of_group["method"].iloc[0]}
        rivals = of_group[(of_group["method"] == best) | (of_group["other"] == best)]
        near = rivals[rivals["better"] != best]
        missing += [
            f"{row.other if row.method == best else row.method} by {metric} on {model}"
            for row in near.itertuples()
        ]
    return missing


def said(tables: RunTables, planned: tuple[int, ...]) -> list[str]:
    """What came of it, a sentence for each model.

    Parameters:
        tables: of the finished run.
        planned: see `looks`.
    """
    sentences = []
    for (dataset, model), measured in tables.models.items():
        cells = tables.cells[
            (tables.cells["dataset"] == dataset) & (tables.cells["model"] == model)
        ]
        images = int(cells["images"].max())
        scores = tables.scores
        of_model = scores[(scores["dataset"] == dataset) & (scores["model"] == model)]
        near = undecided(replace(tables, scores=of_model))
        made = sum(look <= images for look in planned) or 1
        seen = f"{images} of at most {planned[-1]} images"
        looked = f"{made} of {len(planned)} looks, each at {level_of(planned):.2%}"
        if near:
            more = f" and {len(near) - 3} more" if len(near) > 3 else ""
            left = f"the best cannot be told apart from {', '.join(near[:3])}{more}"
            sentences.append(f"{measured.model}: undecided after {seen} ({looked}): {left}.")
        else:
            sentences.append(
                f"{measured.model}: decided after {seen} ({looked}): the best by each metric is "
                "told apart from all others."
            )
    return sentences
