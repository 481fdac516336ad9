"""What a resumed run keeps of a folder: the cells that are finished and whole, if they are its own.

Everything that decides on a number is compared with what the folder's record says: the suite, data,
weights, plugins, device, precision and versions before anything runs; the pixels of a block before
any of its cells. What was decided of a model when the run began is decided.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate

from interpbench.core.errors import RunFolderError
from interpbench.results.cell_folder import DamagedError
from interpbench.results.cell_results import ModelResult
from interpbench.results.run_folder import RunFolder
from interpbench.results.run_info import ModelRecord, RunInfo
from interpbench.running.blocks import blocks as cut_into
from interpbench.running.plan import Plan
from interpbench.running.record import differing_from, found_notices, lowered, versions
from interpbench.running.runner import Todo
from interpbench.suite.cells import Cell


@dataclass(frozen=True)
class Kept:
    """What need not be run again.

    Attributes:
        cells: that are finished and whole; failed ones are not among them, in case their plugin was
            mended.
        blocks: of cells that are not finished, the numbers of the blocks that are.
        models: what was measured of the models of these, by their labels.
        enough: model -> of how many blocks its finished cells are, where that is not all.
        notices: what was damaged, and is made anew.
    """

    cells: frozenset[Cell] = frozenset()
    blocks: Mapping[Cell, tuple[int, ...]] = field(default_factory=dict)
    models: Mapping[str, ModelResult] = field(default_factory=dict)
    enough: Mapping[str, int] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    def todo(self, plan: Plan) -> Todo:
        """What is left to be run of a plan."""
        decided = {label: model for label, model in self.models.items() if model.decides}
        cells = [cell for cell in plan.cells if cell not in self.cells]
        return Todo(cells, self.blocks, decided, self.enough, plan.shard)

    def refuse_another(self, measured: ModelRecord) -> None:
        """Refuses to go on with a model that is not what the kept cells were computed on.

        Raises:
            RunFolderError: if it sees other pixels, or is scored by another kind of passes.
        """
        if measured.model not in self.models:
            return
        before = self.models[measured.model].record
        if before.pixels_sha256 != measured.pixels_sha256 or before.skipped != measured.skipped:
            raise RunFolderError(
                f"The images are not those that {measured.model!r} saw when its finished cells "
                "were computed: the files have changed, or are read otherwise. Bring them back, or "
                "start afresh with --overwrite or another --output."
            )
        then, now = (_is_compiled(model) for model in (before, measured))
        if then != now:
            raise _compiled_otherwise(measured.model, then)


def kept(folder: RunFolder, plan: Plan) -> Kept:
    """What a folder holds of a plan's cells.

    Raises:
        RunFolderError: if the folder's run is another one, or a finished method's plugin has
            changed since.
    """
    _refuse_another_run(folder, plan)
    notices, whole = [], []
    for cell in folder.cells():
        if isinstance(cell, DamagedError):
            notices.append(_note(cell))
        else:
            whole.append(cell.record)
    planned = set(plan.cells)
    blocks, damaged_blocks = _blocks(folder, plan, planned - {it.cell for it in whole})
    notices += damaged_blocks
    models: dict[str, ModelResult] = {}
    scored = {(it.dataset, it.model) for it in whole if it.status == "ok"}
    for dataset, model in sorted(scored | {(cell.dataset, cell.model) for cell in blocks}):
        try:
            models[model] = folder.model(dataset, model)
        except DamagedError as damaged:
            notices.append(_note(damaged))
    finished, enough = set[Cell](), dict[str, int]()
    for record in whole:
        if record.status == "ok" and record.cell in planned and record.model in models:
            _refuse_another_source(record.cell, record.method_hash, plan, folder)
            finished.add(record.cell)
            if plan.looks:
                enough[record.model] = _blocks_of(record.images, models[record.model].record, plan)
    blocks = {cell: numbers for cell, numbers in blocks.items() if cell.model in models}
    kept_of = {label: models[label] for label in {cell.model for cell in [*finished, *blocks]}}
    for label, measured in kept_of.items():
        _refuse_other_compilation(label, measured.record, plan)
    return Kept(frozenset(finished), blocks, kept_of, enough, tuple(notices))


def _blocks_of(images: int, model: ModelRecord, plan: Plan) -> int:
    """How many blocks hold so many images that can be read."""
    readable = set(model.sample_ids)
    cut = cut_into(len(plan.indices), model.block_size)
    in_each = (
        sum(plan.dataset.ids[i] in readable for i in block.of(plan.indices)) for block in cut
    )
    return next(
        (n for n, so_far in enumerate(accumulate(in_each), 1) if so_far >= images), len(cut)
    )


def _blocks(
    folder: RunFolder, plan: Plan, cells: Collection[Cell]
) -> tuple[dict[Cell, tuple[int, ...]], list[str]]:
    """The sound blocks of cells that are not finished, and notes of damaged ones."""
    numbers: dict[Cell, tuple[int, ...]] = {}
    notices = []
    for cell in sorted(cells):
        sound = []
        for number in folder.block_numbers(cell):
            try:
                block = folder.block(cell, number)
            except DamagedError as damaged:
                notices.append(_note(damaged))
                continue
            _refuse_another_source(cell, block.method_hash, plan, folder)
            if not block.failures:  # in case its plugin was mended
                sound.append(number)
        if sound:
            numbers[cell] = tuple(sound)
    return numbers, notices


def begun_again(info: RunInfo, folder: RunFolder, old: Kept) -> RunInfo:
    """run.json of a run that goes on: as that of one that starts, with what began it.

    Parameters:
        info: of a run that starts now.
        folder: of the run that goes on.
        old: what is kept of it.
    """
    recorded = folder.info()
    notices = recorded.notices
    if recorded.is_finished:  # what its cells told comes again at the end
        told = _told(folder, lowered(info))
        notices = tuple(notice for notice in notices if notice not in told)
    suite = info.suite.model_copy(update={"changed": recorded.suite.changed or info.suite.changed})
    return info.model_copy(
        update={
            "suite": suite,
            "command": recorded.command,
            "started": recorded.started,
            "notices": tuple(dict.fromkeys([*notices, *old.notices, *_otherwise(recorded, info)])),
            **({"workers_lost": recorded.workers_lost} if recorded.workers_lost else {}),
        }
    )


def _otherwise(recorded: RunInfo, info: RunInfo) -> Iterator[str]:
    """What is said where a run goes on in a way that may change last digits, or a cell's fate."""
    for name in ("isolation", "threads"):
        then, now = getattr(recorded, name), getattr(info, name)
        if then and then != now:
            yield f"The run began with {name} {then} and went on with {now}."


def _refuse_another_run(folder: RunFolder, plan: Plan) -> None:
    recorded = folder.info()
    differing = differing_from(plan, recorded.identity)
    now = versions()
    others = [
        f"{package} {then}, now {now[package]}"
        for package, then in recorded.versions.items()
        if now.get(package, then) != then
    ]
    if others:
        differing = [*sorted({*differing} - {"versions"}), f"versions ({'; '.join(others)})"]
    if differing:
        raise RunFolderError(
            f"{folder.path} holds another run: {', '.join(differing)} differ. Resume with the "
            "command that began it, or start afresh with --overwrite or another --output."
        )


def _refuse_another_source(cell: Cell, source_hash: str, plan: Plan, folder: RunFolder) -> None:
    if source_hash != plan.method(cell).plugin.source_hash:
        raise RunFolderError(
            f"Method {cell.method!r} has changed since its cells in {folder.path} were "
            "finished. Start afresh with --overwrite or another --output."
        )


def _told(folder: RunFolder, wished: str) -> set[str]:
    """What the folder's models and cells told, as far as they are whole."""
    cells = [cell.record for cell in folder.cells() if not isinstance(cell, DamagedError)]
    models = []
    for dataset, model in {(cell.dataset, cell.model) for cell in cells}:
        with suppress(DamagedError):
            models.append(folder.model(dataset, model).record)
    return set(found_notices(models, sorted(cells, key=lambda record: record.cell), wished))


def _note(damaged: DamagedError) -> str:
    return f"Made anew when the run was resumed: {damaged.what}."


def _refuse_other_compilation(label: str, model: ModelRecord, plan: Plan) -> None:
    """Refuses a wish that is not what was decided when the run began."""
    wish, compiled = plan.computing.compile, _is_compiled(model)
    if wish != "auto" and (wish == "always") != compiled:
        raise _compiled_otherwise(label, compiled)


def _compiled_otherwise(label: str, compiled: bool) -> RunFolderError:
    """What is wrong where a model was compiled, or was not, and is to go on otherwise."""
    said = {True: "compiled", False: "not compiled"}
    return RunFolderError(
        f"{label!r} was {said[compiled]} when its finished cells were scored and is "
        f"{said[not compiled]} now, which rounds otherwise. Give --compile "
        f"{'always' if compiled else 'never'}, or start afresh with --overwrite or another "
        "--output."
    )


def _is_compiled(model: ModelRecord) -> bool:
    return model.scoring is not None and model.scoring.is_compiled
