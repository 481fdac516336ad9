"""What methods cost in time and memory, ranked: unlike scores, other figures each time."""

import pandas as pd

from interpbench.results.tables import RunTables

PLACE = ["dataset", "model"]
COLUMNS = [
    *PLACE,
    "method",
    "role",
    "images",
    "milliseconds",
    "milliseconds_rank",
    "peak_megabytes",
    "peak_megabytes_rank",
]
MEGABYTE = 1e6


def cost(tables: RunTables) -> pd.DataFrame:
    """A row a method that gave maps, the fastest first, on each data set and model.

    Columns: dataset, model, method, role (method or control), images, milliseconds (of making one
    map, in batches; methods that share passes share their time, the first has it all),
    milliseconds_rank (1 is the fastest), peak_megabytes (of a GPU, that making a batch of maps took
    at most; missing where it was not measured) and peak_megabytes_rank. Ranks are those of the
    figures: they say nothing of what another run would measure. What is the same each time, the
    number of passes, is scored by metrics.
    """
    if tables.cells.empty or tables.timings.empty:
        return pd.DataFrame(columns=COLUMNS)
    whole = tables.cells[tables.cells["status"] == "ok"]
    columns = [*PLACE, "method", "attribution_seconds", "peak_memory"]
    rows = whole[whole["images"] > 0].merge(tables.timings[columns], on=[*PLACE, "method"])
    found = rows.assign(
        milliseconds=1000 * rows["attribution_seconds"] / rows["images"],
        peak_megabytes=rows["peak_memory"].astype(float) / MEGABYTE,
    )
    for figure in ("milliseconds", "peak_megabytes"):
        found[f"{figure}_rank"] = found.groupby(PLACE)[figure].rank(method="min").astype("Int64")
    return found.sort_values([*PLACE, "milliseconds", "method"], ignore_index=True)[COLUMNS]
