"""A published run: what it says of itself, read from files that a stranger may have written.

    results/<suite>/<submission>/
        run.json        what was run, with what, by whom and when; the files' hashes,
                        and one of all it says itself
        scores.csv      a row per model, method, metric and image
        ceilings.csv    likewise, of the best map that the search found

Nothing in them is code, and nothing is trusted: sizes, names, types and columns are checked before
anything is made of them. Whether the numbers hold together is for `integrity`, whether they are
true for `rescoring`.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import (
    AfterValidator,
    AwareDatetime,
    Field,
    NonNegativeInt,
    PositiveInt,
    SerializerFunctionWrapHandler,
    StringConstraints,
    ValidationError,
    model_serializer,
)

from interpbench.core.errors import SubmissionError
from interpbench.files.csv_files import read_csv, write_csv
from interpbench.files.records import first_problem
from interpbench.files.toml_settings import Settings
from interpbench.results.run_info import MetricInfo, ModelRecord
from interpbench.results.score_labels import in_order, labelled, relabelled
from interpbench.results.tables import RunTables
from interpbench.suite.cells import SCORE_COLUMNS, Role
from interpbench.suite.suite import Suite

SCHEMA_VERSION: Literal[1] = 1
TABLES = ("scores.csv", "ceilings.csv")
KEY = ["model", "method", "metric", "sample_id"]
COLUMNS = [*KEY, "label", "target", "tied", "value"]
LARGEST = {"run.json": 8_000_000, "scores.csv": 2_000_000_000, "ceilings.csv": 200_000_000}  # bytes

# \n and \t are text.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def _printable(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("control characters are not allowed")
    return text


def _slug(text: str) -> str:
    if not re.fullmatch(SLUG, text):
        raise ValueError(
            "lower case letters and digits are expected, and . _ - between them, 64 at most"
        )
    return text


def _from_low_to_high(limits: tuple[float, float]) -> tuple[float, float]:
    if not limits[0] < limits[1]:
        raise ValueError("a lower number, then a greater one, are expected")
    return limits


Text = Annotated[str, StringConstraints(max_length=4000), AfterValidator(_printable)]
_LINE = StringConstraints(min_length=1, max_length=200, pattern=r"^\S(.*\S)?$")
Label = Annotated[str, _LINE, AfterValidator(_printable)]
SLUG = r"(?=.{1,64}$)[a-z0-9]+([._-][a-z0-9]+)*"  # of a file that every system can hold
Slug = Annotated[str, AfterValidator(_slug)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ShortHash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
Range = Annotated[tuple[float, float], AfterValidator(_from_low_to_high)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class SuiteOf(Settings):
    """The suite's name and version, and the hash of what its methods are compared on."""

    name: Slug
    version: PositiveInt
    frame: ShortHash


class DataOf(Settings):
    """The data set, its revision, the source hash of its plugin, and the ids of the images."""

    name: Label
    revision: Label
    source_hash: Sha256
    samples: tuple[Label, ...]


class Grown(Settings):
    """A part of a record that says more than it once did.

    What an older one does not say is left out again: it keeps its bytes, and so its digest.
    """

    LATER: ClassVar[tuple[str, ...]]

    @model_serializer(mode="wrap")
    def _as_it_was(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        contents: dict[str, Any] = write(self)
        unsaid = [name for name in self.LATER if contents[name] in ("", None)]
        return {name: value for name, value in contents.items() if name not in unsaid}


class ModelOf(Grown):
    """A model's weights, the pixels it was shown, and its accuracy on them.

    The weights are `random`, without a hash, if it is untrained. The preparation is how images
    became its input, in words, and the outputs are what its answers are, where they are no logits
    of a softmax; older records leave them out.
    """

    LATER = ("preparation", "outputs")

    source_hash: Sha256
    parameters: dict[Label, Text | int | float | bool | None]
    weights: Label
    weights_sha256: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")]
    preparation: Text = ""
    outputs: Text = ""
    pixels_sha256: Sha256
    accuracy: Share | None
    accuracy_images: NonNegativeInt

    def prepared_otherwise(self, preparation: str) -> bool:
        """Whether images became its input in another way, as far as both say how."""
        return "" not in (self.preparation, preparation) and self.preparation != preparation


class MethodOf(Settings):
    """A method's source hash, its parameters in canonical JSON, and what it is to the others."""

    source_hash: Sha256
    parameters: Text
    reference: Text = ""
    role: Literal["method", "control"]


class MetricOf(Settings):
    """A metric as run.json of a run describes it."""

    source_hash: Sha256
    summary: Text = ""
    better: Literal["lower", "higher"]
    range: Range
    unit: Text
    curve: bool
    protocol: ShortHash
    protocol_text: Text


class CellOf(Grown):
    """What became of a method on a model; see `CellRecord`. Older records leave out `signed`."""

    LATER = ("signed",)

    model: Label
    method: Label
    role: Role
    status: Literal["ok", "failed"]
    reason: Text = ""
    images: NonNegativeInt
    constant: NonNegativeInt
    nonfinite: NonNegativeInt
    signed: NonNegativeInt | None = None

    @property
    def valid(self) -> int:
        """How many maps were answers."""
        return self.images - self.constant - self.nonfinite


class TableHashes(Settings):
    """The hashes of the tables."""

    scores: Sha256
    ceilings: Sha256


class SubmissionRecord(Settings):
    """run.json of a submission.

    Attributes:
        name, by, comment: of the submission, its author, and what the author wants to say.
        supersedes: digests of the submissions of this name that it takes the place of, oldest
            first.
        failures_declared: whether the author has said that failed cells are meant to be there.
        settings: the suite as it was run.
        digest: of everything else in this file, which holds the hashes of the other files.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    name: Slug
    by: Label
    comment: Text = ""
    supersedes: tuple[Sha256, ...] = ()
    failures_declared: bool = False
    suite: SuiteOf
    settings: Suite
    data: DataOf
    models: dict[Label, ModelOf]
    methods: dict[Label, MethodOf]
    metrics: dict[Label, MetricOf]
    cells: Annotated[tuple[CellOf, ...], Field(min_length=1)]
    started: AwareDatetime
    finished: AwareDatetime
    device: Label
    precision: Literal["fp32", "bf16", "fp16"]
    versions: dict[Label, Label]
    git: dict[Label, Text | bool]
    files: TableHashes
    digest: Sha256 | Literal[""] = ""

    @property
    def computed_digest(self) -> str:
        """sha256 of the canonical text of everything but the digest."""
        contents = self.model_dump(mode="json", exclude={"digest"})
        text = json.dumps(contents, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def sealed(self) -> "SubmissionRecord":
        """This record with its digest."""
        return self.model_copy(update={"digest": self.computed_digest})

    def text(self) -> str:
        """run.json, the same bytes for the same record."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"


class Submission:
    """A record and its tables.

    Attributes:
        record: run.json.
        scores, ceilings: with COLUMNS, sorted; texts are categories.
    """

    def __init__(
        self, record: SubmissionRecord, scores: pd.DataFrame, ceilings: pd.DataFrame
    ) -> None:
        self.record = record
        self.scores = labelled(scores)
        self.ceilings = labelled(ceilings)

    @property
    def name(self) -> str:
        """Of the submission."""
        return self.record.name

    @cached_property
    def tables(self) -> RunTables:
        """As those of a run, without curves, timings and example images."""
        record = self.record
        dataset = record.data.name
        cells = [cell.model_dump() for cell in record.cells if cell.role != "ceiling"]
        parameters = {label: method.parameters for label, method in record.methods.items()}
        frame = pd.DataFrame(cells, columns=list(CellOf.model_fields)).assign(dataset=dataset)
        return RunTables(
            scores=self._long(self.scores),
            curves={},
            cells=frame.assign(parameters=frame["method"].map(parameters)),
            timings=pd.DataFrame(),
            metrics={
                label: MetricInfo(**metric.model_dump()) for label, metric in record.metrics.items()
            },
            models={
                (dataset, label): ModelRecord(dataset=dataset, model=label, **model.model_dump())
                for label, model in record.models.items()
            },
            examples=[],
            seed=record.settings.seed,
            ceilings=self._long(self.ceilings),
        )

    def _long(self, table: pd.DataFrame) -> pd.DataFrame:
        protocols = {label: metric.protocol for label, metric in self.record.metrics.items()}
        parameters = {label: method.parameters for label, method in self.record.methods.items()}
        dataset = pd.Categorical.from_codes(
            np.zeros(len(table), dtype=int), [self.record.data.name]
        )
        return table.assign(
            dataset=dataset,
            parameters=relabelled(table["method"], parameters, "{}"),
            protocol=relabelled(table["metric"], protocols),
        )[SCORE_COLUMNS]


def read_submission(folder: Path) -> Submission:
    """A submission from its folder.

    Raises:
        SubmissionError: if a file is missing, too large, a link, unexpected, or not what it should
            be.
    """
    _refuse_what_does_not_belong(folder)
    record = _read_record(folder / "run.json")
    scores, ceilings = (_read_table(folder / name) for name in TABLES)
    return Submission(record, scores, ceilings)


def _refuse_what_does_not_belong(folder: Path) -> None:
    if not folder.is_dir():
        raise SubmissionError(
            f"{folder} is no submission: there is no such folder. Give the folder that `publish` "
            "wrote, results/<suite>/<submission>."
        )
    for path in sorted(folder.iterdir()):
        if path.name not in LARGEST:
            raise SubmissionError(
                f"{path} does not belong to a submission, which holds {', '.join(LARGEST)} alone."
            )
    for name, largest in LARGEST.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise SubmissionError(
                f"{folder} is no submission: {name} is missing, or is no plain file."
            )
        if path.stat().st_size > largest:
            raise SubmissionError(
                f"{path} is larger than the {largest // 1_000_000} MB that are read."
            )


def is_written(record: SubmissionRecord, folder: Path) -> bool:
    """Whether a submission's run.json has the very text of its record."""
    return (folder / "run.json").read_text(encoding="utf-8") == record.text()


def _read_record(path: Path) -> SubmissionRecord:
    try:
        text = path.read_text(encoding="utf-8")
        contents = json.loads(text, object_pairs_hook=_without_duplicates)
    except (OSError, ValueError, RecursionError) as error:
        raise SubmissionError(f"{path} is no valid JSON: {error}.") from None
    if isinstance(contents, Mapping) and contents.get("schema_version") != SCHEMA_VERSION:
        version = str(contents.get("schema_version"))[:40]
        raise SubmissionError(
            f"{path} has schema version {version}; this InterpBench reads {SCHEMA_VERSION}."
        )
    try:
        return SubmissionRecord.model_validate(contents)
    except ValidationError as invalid:
        key, reason, _ = first_problem(invalid)
        raise SubmissionError(f"{path}: key {key[:200]!r}: {reason}.") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    contents = dict(pairs)
    if len(contents) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:200]!r} stands there twice")
    return contents


def _read_table(path: Path) -> pd.DataFrame:
    text = dict.fromkeys(KEY, "category")
    whole = dict.fromkeys(["label", "target"], "int64")
    try:
        frame = read_csv(path, {**text, **whole, "tied": "float64", "value": "float64"})
    except ValueError as error:
        raise SubmissionError(f"{path}: {error}") from None
    return frame[COLUMNS]


def write_tables(scores: pd.DataFrame, ceilings: pd.DataFrame, folder: Path) -> dict[str, str]:
    """Writes the tables of a submission, sorted; their names and hashes.

    The same rows give the same bytes.
    """
    for name, frame in zip(TABLES, (scores, ceilings), strict=True):
        write_csv(in_order(labelled(frame[COLUMNS]), KEY), folder / name)
    return hashes(folder)


def hashes(folder: Path) -> dict[str, str]:
    """sha256 of each table of a submission, by its name without `.csv`."""
    digests = {}
    for name in TABLES:
        with (folder / name).open("rb") as file:
            digests[name.removesuffix(".csv")] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests
