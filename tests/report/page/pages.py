"""Evidence for pages, from synthetic tables."""

from pathlib import Path
from typing import Any

import pandas as pd

from interpbench.report.verdict.evidence import Evidence, of_run
from interpbench.results.comparison import agreement, mean_ranks
from interpbench.results.finished_run import Run
from interpbench.results.leaderboard import COLUMNS
from interpbench.results.run_info import MetricInfo, RunInfo
from interpbench.suite.protocol import SIGN
from tests.synthetic_tables import concluded

HOSTILE = (
    "<script>window.broken = 1</script>",
    "</script><img src=x onerror='window.broken = 2'>",
    '" onmouseover="window.broken = 3',
    "{{ 7 * 7 }}{% raw %}",
    "javascript:window.broken=4",
    "__proto__",
)
INFO: dict[str, Any] = {
    "schema_version": 1,
    "suite": {"name": "quick", "version": 2, "hash": "f0f1ad08dfed", "changed": False},
    "settings": {
        "dataset": "planted",
        "models": ["resnet18"],
        "methods": ["gradcam", "rise:masks=500"],
        "images": 24,
    },
    "command": ["/usr/bin/interpbench", "run", "--images", "24", "--output", "here"],
    "started": "2026-01-01T12:00:00+00:00",
    "finished": "2026-01-01T12:01:00+00:00",
    "seed": 7,
    "device": "cpu x86_64",
    "precision": "fp32",
    "versions": {"python": "3.12.1", "torch": "2.15.0"},
    "git": {"commit": "d58f1566a5eafc401ac96ff016797bf990f67470", "changed": False},
    "plugins": {
        "method gradcam": {
            "origin": "plugins/methods/cam.py:11",
            "source_hash": "23fa977d",
            "parameters": {},
        }
    },
    "identity": {"data": {"revision": "planted-1", "samples": ["image-000", "image-001"]}},
    "models": {
        "planted resnet18": {"card": {"weights": "r.safetensors", "weights_sha256": "171d67bf"}}
    },
    "status": "finished",
}


def run_evidence(info: dict[str, Any] | None = None, **choices: Any) -> Evidence:
    """Of a synthetic run; `choices` are those of `synthetic_tables`. Its tables are other tests' too."""
    said = RunInfo.model_validate(INFO | (info or {}))
    return of_run(Run(Path("run"), said, *concluded(**choices)))


def board_evidence(*rows: tuple[str, str, str, float, int, str], **columns: Any) -> Evidence:
    """Of a leaderboard: rows of model, metric, method, mean, rank, letters; the same `columns` for all."""
    board = pd.DataFrame(rows, columns=["model", "metric", "method", "mean", "rank", "letters"])
    better = board["metric"].map(lambda metric: "lower" if metric == "deletion" else "higher")
    common = {
        "dataset": "planted",
        "weights": "shipped",
        "accuracy": 0.9,
        "n": 100,
        "status": "ok",
        "reason": "",
    }
    common |= {
        "low": board["mean"] - 0.01,
        "high": board["mean"] + 0.01,
        "control": "",
        "protocol": "0123456789ab",
        "sign": SIGN,
    }
    common |= {
        "role": (board["method"] == columns.get("control")).map({True: "control", False: "method"})
    }
    common |= {"parameters": "{}", "tied": 0.0, "constant": 0, "nonfinite": 0, "unscored": 0}
    absent = ["floor", "ceiling", "share", "share_low", "share_high", "signed"]
    nothing = dict.fromkeys(absent, float("nan"))
    board = board.assign(better=better, rank_to=_last_places(board), **(nothing | common | columns))
    board = board[COLUMNS].astype({"rank": "Int64", "rank_to": "Int64"})
    metrics = {
        metric: MetricInfo(better=found["better"].iloc[0])
        for metric, found in board.groupby("metric", sort=False)
    }
    return Evidence("made", board, mean_ranks(board), agreement(board), metrics)


def _last_places(board: pd.DataFrame) -> list[int]:
    """What `rank_to` is where `rank` and letters are so: all but those that come later and share no letter."""
    last = []
    for row in board.itertuples():
        same = (board["model"] == row.model) & (board["metric"] == row.metric)
        others = board[same & board["mean"].notna()]
        worse = [
            other
            for other in others.itertuples()
            if other.rank > row.rank and not set(row.letters) & set(other.letters)
        ]
        last.append(len(others) - len(worse))
    return last
