"""A cell put together of its blocks: its record and the rows of its tables."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from interpbench.fast.occlusion.choice import Choice, counted
from interpbench.results.block_files import BlockResult
from interpbench.results.cell_results import CellResult
from interpbench.results.run_info import CellRecord, PrecisionEffect, WindowsRecord
from interpbench.running.cell_tables import Scored, curve_rows, precision_effect, score_rows
from interpbench.running.plan import Plan
from interpbench.suite.cells import CURVE_COLUMNS, SCORE_COLUMNS


def is_whole(blocks: Mapping[int, BlockResult]) -> bool:
    """Whether a cell's blocks are all there: up to the last, or to one in which it broke down.

    Parameters:
        blocks: of one cell, by their numbers.
    """
    parts = _parts(blocks)
    return bool(parts) and (parts[-1].is_last or bool(parts[-1].failures))


def cell_of_blocks(plan: Plan, blocks: Mapping[int, BlockResult]) -> CellResult:
    """A cell's result from its first block to its last, or to the one in which it broke down.

    What was computed beyond that one does not count, so that the result is the same wherever and in
    whatever order blocks are computed.

    Parameters:
        plan: of the run.
        blocks: of a cell that is whole, by their numbers.
    """
    parts = _parts(blocks)
    constant, nonfinite = _joined(parts, "constant"), _joined(parts, "nonfinite")
    discarded = any(part.discarded for part in parts)
    failed = {label: why for part in reversed(parts) for label, why in part.failed_metrics.items()}
    tables = _Tables(plan, parts, {*plan.metrics} if discarded else {*failed})
    failures = [*parts[-1].failures] or _shortcomings(constant, nonfinite, failed)
    failures += tables.outside
    cell = parts[0].cell
    method = plan.method(cell)
    record = CellRecord(
        dataset=cell.dataset,
        model=cell.model,
        method=cell.method,
        parameters=method.parameters_json,
        method_hash=method.plugin.source_hash,
        role=plan.role(cell),
        status="failed" if failures else "ok",
        reason="; ".join(failures),
        images=len(constant),
        constant=int(constant.sum()),
        nonfinite=int(nonfinite.sum()),
        signed=None if cell.ceiling_of else sum(part.signed for part in parts),
        left_behind=tuple(dict.fromkeys(what for part in parts for what in part.left_behind)),
        attribution_seconds=sum(part.attribution_seconds for part in parts),
        scoring_seconds=sum(part.scoring_seconds for part in parts),
        peak_memory=max((m for part in parts if (m := part.peak_memory) is not None), default=None),
        forward_passes=sum(part.forward_passes for part in parts),
        explained_again=sum(part.explained_again for part in parts),
        batch_size=min(part.batch_size for part in parts),
        precision_effect=tables.effect,
        windows=_windows(parts),
        devices=tuple(sorted({part.device for part in parts})),
    )
    maps = {name: map_ for part in parts for name, map_ in part.maps.items() if not discarded}
    return CellResult(record, tables.scores, tables.curves, maps)


def _parts(blocks: Mapping[int, BlockResult]) -> list[BlockResult]:
    """The blocks that count, as far as they are there."""
    parts: list[BlockResult] = []
    while len(parts) in blocks and not (parts and parts[-1].failures):
        parts.append(blocks[len(parts)])
    return parts


def _joined(parts: Sequence[BlockResult], what: str) -> np.ndarray:
    return np.concatenate([getattr(part, what) for part in parts])


def _shortcomings(
    constant: np.ndarray, nonfinite: np.ndarray, failed_metrics: Mapping[str, str]
) -> list[str]:
    """Why a cell fails though its method has answered for every image."""
    failures = []
    if nonfinite.any():
        of_all = f"{nonfinite.sum()} of {len(nonfinite)} images"
        failures.append(f"gave NaN or infinite maps for {of_all}")
    if constant.all():
        failures.append(f"gave a constant map for each of the {len(constant)} images")
    return failures + [f"metric {label}: {reason}" for label, reason in failed_metrics.items()]


def _windows(parts: Sequence[BlockResult]) -> tuple[WindowsRecord, ...]:
    records = [windows for part in parts for windows in part.windows]
    choices = [Choice(each.plain, each.cut, each.gain, each.difference) for each in records]
    return tuple(
        WindowsRecord(**asdict(choice), calls=calls)
        for choice, calls in counted(choices, [each.calls for each in records])
    )


class _Tables:
    """Rows of the images with a valid map.

    Attributes:
        scores, curves: with SCORE_COLUMNS and CURVE_COLUMNS.
        effect: metric -> what a lower precision changed.
        outside: what says that a metric's scores are not within its range.
    """

    def __init__(self, plan: Plan, parts: Sequence[BlockResult], left_out: set[str]) -> None:
        self._plan, self._parts = plan, parts
        self._kept = np.concatenate(
            [~(part.constant | part.nonfinite)[: len(part.sample_ids)] for part in parts]
        )
        self.effect: dict[str, PrecisionEffect] = {}
        self.outside: list[str] = []
        scores: list[pd.DataFrame] = []
        curves: list[pd.DataFrame] = []
        for label in plan.metrics:
            values = [part.scored[label] for part in parts if label in part.scored]
            if values and label not in left_out and self._kept.any():
                self._add(label, Scored.of(np.concatenate(values), self._kept), scores, curves)
        self.scores = _concatenated(scores, SCORE_COLUMNS)
        self.curves = _concatenated(curves, CURVE_COLUMNS)

    def _add(
        self, label: str, scored: Scored, scores: list[pd.DataFrame], curves: list[pd.DataFrame]
    ) -> None:
        parts, metric = self._parts, self._plan.metrics[label]
        outside = scored.outside(metric.plugin.scale(metric.values).range)
        if outside:
            self.outside.append(f"metric {label}: {outside}")
            return
        cell = parts[0].cell
        names = {
            **cell.as_dict(),
            "parameters": self._plan.method(cell).parameters_json,
            "metric": label,
            "protocol": self._plan.protocols[label].hash,
        }
        ids = np.array([name for part in parts for name in part.sample_ids], dtype=object)
        sample_ids = ids[self._kept].tolist()
        images = {
            "sample_id": sample_ids,
            "label": _joined(parts, "labels")[self._kept],
            "target": _joined(parts, "targets")[self._kept],
            "tied": _joined(parts, "tied")[self._kept],
        }
        scores.append(score_rows(names, images, scored))
        if scored.outputs is not None:
            changed = next(part.changed[label] for part in parts if label in part.changed)
            curves.append(curve_rows(names, sample_ids, changed, scored.outputs))
        exact = [part.exact[label] for part in parts if label in part.exact]
        if exact:
            lowered = [part.lowered[label] for part in parts if label in part.lowered]
            self.effect[label] = precision_effect(np.concatenate(lowered), np.concatenate(exact))


def _concatenated(frames: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
