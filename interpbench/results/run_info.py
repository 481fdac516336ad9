"""What a run says of itself on disk, as typed records. One writer and one reader, the run folder.

run.json                 RunInfo
models/<model>.json      ModelRecord
cells/<cell>/cell.json   CellRecord
"""

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from interpbench.files.records import Record, by_name
from interpbench.files.versions import GitState
from interpbench.suite.cells import Cell, Role
from interpbench.suite.protocol import sign_of
from interpbench.suite.suite import Suite

if TYPE_CHECKING:
    from interpbench.core.types import ModelCard

SCHEMA_VERSION: Literal[1] = 1
Better = Literal["lower", "higher"]
Number = int | float


class MetricInfo(Record):
    """A metric of a run: which direction is better, its range and unit, its protocol.

    And whether it has curves, and which aspect of maps it asks about; "" where that is not known.
    """

    summary: str = ""
    better: Better
    range: tuple[Number, Number] = (-math.inf, math.inf)
    unit: str = ""
    curve: bool = False
    aspect: str = ""
    protocol: str = ""
    protocol_text: str = ""

    @property
    def lower_is_better(self) -> bool:
        """The direction, as a truth."""
        return self.better == "lower"

    @property
    def judges(self) -> bool:
        """Whether a method can be the best by it.

        Not by what a map may do well by that is right about nothing, as one that never changes is
        the most robust.
        """
        return self.aspect in ("", "faithfulness", "localisation")

    @property
    def range_text(self) -> str:
        """The range as an interval: `[0, 1]`, `[0, ∞)`, `(−∞, ∞)`."""
        low, high = self.range
        start = "(−∞" if math.isinf(low) else f"[{low:g}"
        return f"{start}, ∞)" if math.isinf(high) else f"{start}, {high:g}]"

    @property
    def sign(self) -> str:
        """How its protocol takes negative values; "" where the protocol is not known."""
        return sign_of(self.protocol_text)


class PluginInfo(Record):
    """A plugin of a run.

    `file:line`, the hash of its source, the paper, the values of its parameters.
    """

    origin: str = ""
    source_hash: str = ""
    reference: str = ""
    parameters: dict[str, Any] = {}


class CardRecord(Record):
    """A model's card, see `core.types.ModelCard`, and its preparation in words."""

    name: str = ""
    parameters: dict[str, Any] = {}
    dataset: str = ""
    classes: int | None = None
    size: int | None = None
    resize: int | None = None
    mean: tuple[Number, ...] = ()
    std: tuple[Number, ...] = ()
    logit_of_label: tuple[int, ...] = ()
    target_layer: str | None = None
    weights: str = ""
    weights_sha256: str = ""
    licence: str = ""
    reference: str = ""
    notes: dict[str, str] = {}
    height: int | None = None
    width: int | None = None
    interpolation: str = ""
    channels: str = ""
    prepared: str = ""
    stated_by: str = ""
    outputs: str = ""

    @classmethod
    def of(cls, card: "ModelCard", *, logits: bool = True) -> "CardRecord":
        """A model's card, with the logit of each of a data set's labels if there is one at hand."""
        preparation = card.preparation
        whole = {name: getattr(card, name) for name in cls.model_fields if hasattr(card, name)}
        if not logits:
            del whole["logit_of_label"]
        framing = {
            name: getattr(preparation, name)
            for name in ("height", "width", "interpolation", "channels", "stated_by")
        }
        return cls(**whole, **framing, resize=preparation.resize or 0, prepared=preparation.text)


class FindingRecord(Record):
    """What was found to be wrong with a model, see `diagnosis.examination.Finding`."""

    kind: str
    where: tuple[str, ...] = ()
    what: str
    advice: str = ""
    rules_out: str = ""
    repaired: bool = False


class RepairRecord(Record):
    """What was mended on a copy of a model, see `diagnosis.repair.Repair`."""

    what: str
    where: tuple[str, ...] = ()
    difference: float | None = None
    discarded: str = ""


class ScoringRecord(Record):
    """How scores were computed.

    What was done to the scoring copy, images a forward pass, compilation.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    no_copy: Annotated[str, Field(alias="copy")] = ""
    batch_norms: str = ""
    convolutions: str = ""
    tiled_convolutions: int = 0
    fused_convolutions: int = 0
    greatest_difference: float = 0.0
    greatest_logit: float = 0.0
    precision: str = ""
    batch_size: int = 0
    batch_size_from: str = ""
    compiled: str = ""
    gradients: str = ""

    @property
    def is_compiled(self) -> bool:
        """Whether the network is compiled."""
        return self.compiled.startswith("yes")


class MeasuredModel(Record):
    """What run.json says of a model: its card, its accuracy, which pixels it saw.

    Its accuracy comes with the number of images.
    """

    card: CardRecord = CardRecord()
    accuracy: float | None = None
    accuracy_images: int = 0
    pixels_sha256: str = ""
    findings: tuple[FindingRecord, ...] = ()
    repairs: tuple[RepairRecord, ...] = ()
    scoring: ScoringRecord | None = None


class Checked(Record):
    """A record that knows the checksums of its files, and its own.

    Attributes:
        checksums: name of a file -> sha256; the record's own is that of its text without them. None
            in runs of before there were any.
    """

    checksums: dict[str, str] = {}

    def with_checksums(self, checksums: dict[str, str]) -> Self:
        """The same with these checksums."""
        return self.model_copy(update={"checksums": checksums})

    def without_checksums(self) -> Self:
        """The same without any."""
        return self.model_construct(
            **{name: getattr(self, name) for name in self.given - {"checksums"}}
        )


class ModelRecord(MeasuredModel, Checked):
    """What a run measured of a model before any method.

    Attributes:
        dataset, model: labels.
        weights: where they came from; `random` if untrained.
        sample_ids: of the images that could be read; `skipped` says of the others why not.
        block_size, pixels_of_blocks: images a block, and sha256 of the pixels of each.
        notices: what the user must know of it.
        example_ids, true_classes, predicted_classes: of the example images.
    """

    dataset: str
    model: str
    weights: str = ""
    sample_ids: tuple[str, ...] = ()
    skipped: dict[str, str] = {}
    block_size: int = 0
    pixels_of_blocks: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    example_ids: tuple[str, ...] = ()
    true_classes: tuple[str, ...] = ()
    predicted_classes: tuple[str, ...] = ()

    @property
    def decisions(self) -> tuple[object, ...]:
        """What must be the same wherever its blocks are computed."""
        scoring = self.scoring
        return (
            self.pixels_sha256,
            self.pixels_of_blocks,
            self.skipped,
            scoring and (scoring.batch_size, scoring.is_compiled, scoring.precision),
        )

    @property
    def untrained(self) -> bool:
        """Whether its weights are random."""
        return self.weights == "random"

    def measured(self) -> MeasuredModel:
        """What run.json takes of it."""
        return MeasuredModel(
            **{
                name: getattr(self, name)
                for name in MeasuredModel.model_fields
                if name in self.given
            }
        )


class PrecisionEffect(Record):
    """What a lower precision changes in a cell's areas by one metric.

    Absolute differences, and both means.
    """

    images: int
    mean_difference: float
    greatest_difference: float
    mean: float
    mean_fp32: float


class WindowsRecord(Record):
    """How windows that cover parts of images were computed, and in how many calls.

    See `fast.occlusion.choice.Choice`.
    """

    plain: str = ""
    cut: str | None = None
    gain: float | None = None
    difference: float | None = None
    calls: int = 0


class CellRecord(Checked):
    """What became of a cell.

    Attributes:
        dataset, model, method: labels.
        parameters: of the method, canonical JSON.
        method_hash: sha256 of the method's source.
        role: what the method is: one to be judged, a control, or the search for a ceiling.
        status: `ok`, or `failed` with a reason.
        images: how many were given; `constant` and `nonfinite` count those whose map was so, and is
            not scored.
        signed: how many of the others' maps hold a negative value; None of a search, and in cells
            of before it was counted.
        left_behind: what the method left on the model, which was undone.
        attribution_seconds, scoring_seconds: time taken.
        peak_memory: bytes of a GPU that making a batch of maps took at most, besides what was held
            before; None on a CPU, and in cells of before it was measured.
        forward_passes: of the search for a ceiling, besides those that score what it found.
        explained_again: how many other inputs metrics asked the method about, within the time that
            scoring took.
        batch_size: images a forward pass in the end, after halving.
        precision_effect: metric -> what a lower precision changed.
        windows: how windows that cover parts of images were computed.
        devices: what its blocks were computed on.
    """

    dataset: str
    model: str
    method: str
    parameters: str = "{}"
    method_hash: str = ""
    role: Role = "method"
    status: Literal["ok", "failed"]
    reason: str = ""
    images: int = 0
    constant: int = 0
    nonfinite: int = 0
    signed: int | None = None
    left_behind: tuple[str, ...] = ()
    attribution_seconds: float = 0.0
    scoring_seconds: float = 0.0
    peak_memory: int | None = None
    forward_passes: int = 0
    explained_again: int = 0
    batch_size: int = 0
    precision_effect: dict[str, PrecisionEffect] = {}
    windows: tuple[WindowsRecord, ...] = ()
    devices: tuple[str, ...] = ()

    @property
    def cell(self) -> Cell:
        """Which cell it is."""
        return Cell(self.dataset, self.model, self.method)

    @property
    def is_search(self) -> bool:
        """Whether it is the search for a ceiling."""
        return self.role == "ceiling"


class PrecisionComparison(Record):
    """What a lower precision changes on a data set and model by one metric, over the methods.

    `methods` and `methods_fp32` are in the order of their means, as they were scored and as they
    are in float32.
    """

    dataset: str
    model: str
    metric: str
    images: int
    mean_difference: float
    greatest_difference: float
    methods: tuple[str, ...]
    methods_fp32: tuple[str, ...]
    same_order: bool


class WindowsOfCell(WindowsRecord):
    """How a method's windows on a model were computed."""

    model: str
    method: str


class LeftBehind(Record):
    """What a method left on a model, which was undone."""

    method: str
    model: str
    what: tuple[str, ...]


class SuiteInfo(Record):
    """The suite of a run, and whether its settings were changed."""

    name: str = ""
    version: int | str | None = None
    hash: str = ""
    changed: bool = False


class DataInfo(Record):
    """The revision of the data and the ids of the images."""

    revision: str = ""
    samples: tuple[str, ...] = ()


class ForeignSettings(BaseModel):
    """A suite's settings as another version of InterpBench knew them."""

    model_config = ConfigDict(extra="allow", frozen=True)


Settings = Annotated[Suite | ForeignSettings, Field(union_mode="left_to_right")]


class Identity(Record):
    """Everything that must be the same for two runs to write the same tables.

    Attributes:
        suite: as it is run.
        data: revision and images.
        weights: model -> sha256 of its weights.
        plugins: the data set's, models' and metrics' names -> source hash.
        device: its kind.
        precision: of the scores' forward passes.
        map_precision: of the maps' passes, where it is a lower one.
        batch_size: model -> images a forward pass.
        versions: of the packages that numbers depend on most.
        preparation: model -> how images become its input, in words.
        outputs: model -> what its answers are, where they are no logits of a softmax.
        looks: after how many images it is asked whether more are needed.
        in_domain: model -> sha256 of the weights of its twin, where metrics ask that.
    """

    suite: Settings = ForeignSettings()
    data: DataInfo = DataInfo()
    weights: dict[str, str] = {}
    plugins: dict[str, str] = {}
    device: str = ""
    precision: str = ""
    batch_size: dict[str, int] = {}
    versions: dict[str, str] = {}
    preparation: dict[str, str] = {}
    outputs: dict[str, str] = {}
    looks: tuple[int, ...] = ()
    in_domain: dict[str, str] = {}
    map_precision: str = ""

    def differences(self, other: "Identity") -> list[str]:
        """The names of what is not the same."""
        return sorted(
            name for name in type(self).model_fields if getattr(self, name) != getattr(other, name)
        )


class RunInfo(Record):
    """run.json. What only a finished run knows is absent before.

    Attributes:
        suite, settings: what was run.
        command: that began it.
        started, finished: when, ISO 8601.
        device, precision, versions, git: with what; several devices have commas between them.
        map_precision: of the maps' passes, where it is a lower one.
        isolation: where cells run: `none`, the process that writes, or `cell`, one of their own.
        threads: that a CPU computes in.
        looks: after how many images it was asked whether more are needed; none where all were run.
        notices: what the user should know.
        metrics: label -> what it is.
        plugins: `KIND LABEL` -> what it is.
        identity: what must be the same for another run to write the same tables.
        cells: the folders of the cells that it is made of, finished or not; none where the run is
            of before they were noted.
        status: `running`, or `finished`.
        models: `DATASET MODEL` -> what was measured of it.
        failures: the cells that failed.
        windows: how windows that cover parts of images were computed.
        precision_effect: what a lower precision changed.
        forward_passes_of_ceilings: images that the search for ceilings sent through models, besides
            scoring.
        left_behind: what methods left on models.
        skipped: image -> why it could not be read.
        workers_lost: which, of what, and what became of that which they were at.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    suite: SuiteInfo = SuiteInfo()
    settings: Settings = ForeignSettings()
    command: tuple[str, ...] = ()
    started: str = ""
    seed: int = 0
    device: str = ""
    precision: str = ""
    map_precision: str = ""
    isolation: str = ""
    threads: int = 0
    looks: tuple[int, ...] = ()
    versions: dict[str, str] = {}
    git: GitState = GitState()
    notices: tuple[str, ...] = ()
    metrics: dict[str, MetricInfo] = {}
    plugins: dict[str, PluginInfo] = {}
    identity: Identity = Identity()
    cells: tuple[str, ...] = ()
    status: Literal["running", "finished"] = "finished"
    finished: str = ""
    models: dict[str, MeasuredModel] = {}
    failures: tuple[CellRecord, ...] = ()
    windows: tuple[WindowsOfCell, ...] = ()
    precision_effect: tuple[PrecisionComparison, ...] = ()
    forward_passes_of_ceilings: int | None = None
    left_behind: tuple[LeftBehind, ...] = ()
    skipped: dict[str, str] = {}
    workers_lost: tuple[str, ...] = ()

    @property
    def is_finished(self) -> bool:
        """Whether all of its cells are there."""
        return self.status == "finished"

    def contents(self) -> dict[str, Any]:
        """As `Record.contents`; what comes from other files stands by name, as it does there."""
        contents = super().contents()
        for label, model in contents.get("models", {}).items():
            contents["models"][label] = {key: by_name(value) for key, value in model.items()}
        if "failures" in contents:
            contents["failures"] = [
                {"role": cell.pop("role", "method"), **by_name(cell)}
                for cell in contents["failures"]
            ]
        if "windows" in contents:
            contents["windows"] = [
                {"model": windows.pop("model"), "method": windows.pop("method"), **by_name(windows)}
                for windows in contents["windows"]
            ]
        return contents
