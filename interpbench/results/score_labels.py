"""Tables of scores whose labels are categories: a byte or four a row, however long a label is.

Categories are in the order of their names, so that codes sort as the names do.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from interpbench.suite.cells import SCORE_COLUMNS

LABELS = ("dataset", "model", "method", "parameters", "metric", "protocol", "sample_id")


def labelled(table: pd.DataFrame) -> pd.DataFrame:
    """The same table with its LABELS, as many as it has, as categories in the order of names."""
    return table.assign(**{name: _categories(table[name]) for name in LABELS if name in table})


def _categories(labels: pd.Series) -> pd.Series:
    if not isinstance(labels.dtype, pd.CategoricalDtype):
        return pd.Series(pd.Categorical(labels), labels.index)
    if labels.cat.categories.is_monotonic_increasing:
        return labels
    return labels.cat.reorder_categories(labels.cat.categories.sort_values())


def joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables below each other, those without rows left out; with SCORE_COLUMNS if there is none."""
    filled = [labelled(table) for table in tables if len(table)]
    if len(filled) < 2:
        return filled[0] if filled else pd.DataFrame(columns=SCORE_COLUMNS)
    columns = {name: [table[name] for table in filled] for name in filled[0]}
    return pd.DataFrame(
        {
            name: union_categoricals(parts, sort_categories=True)
            if name in LABELS
            else pd.concat(parts, ignore_index=True)
            for name, parts in columns.items()
        }
    )


def relabelled(labels: pd.Series, names: Mapping[str, str], other: str = "") -> pd.Series:
    """The name of each label, as categories.

    Parameters:
        labels: categories.
        names: label -> its name.
        other: the name of labels that are not among these.
    """
    named = [names.get(label, other) for label in labels.cat.categories]
    codes, categories = pd.factorize(np.array(named, dtype=object), sort=True)
    renamed = codes.take(labels.cat.codes) if len(named) else codes
    return pd.Series(pd.Categorical.from_codes(renamed, categories), labels.index)


def row_numbers(table: pd.DataFrame, by: Sequence[str]) -> np.ndarray:
    """Numbers int64 of rows that are equal, or less, where their labels are.

    Parameters:
        table: with its labels as categories in the order of names.
        by: the labels that count, the first of them most.
    """
    numbers, size = np.zeros(len(table), dtype=np.int64), 1
    for name in by:
        kinds = max(1, len(table[name].cat.categories))
        if size * kinds >= 2**62:
            distinct, numbers = np.unique(numbers, return_inverse=True)
            size = len(distinct)
        numbers = numbers * kinds + table[name].cat.codes.to_numpy()
        size *= kinds
    return numbers


def in_order(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The rows sorted by labels, as `row_numbers` takes them."""
    numbers = row_numbers(table, by)
    if (numbers[1:] >= numbers[:-1]).all():
        return table.reset_index(drop=True)
    return table.take(np.argsort(numbers, kind="stable")).reset_index(drop=True)
