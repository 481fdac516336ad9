"""What a resumed run keeps of a folder: the cells that are finished and whole, if they are its own.

Everything that decides on a number is compared with what the folder's record says: the suite, data,
weights, plugins, device, precision and versions before anything runs; pixels and compilation as
soon as a model is measured again, before any of its cells.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from interpbench.core.errors import RunFolderError
from interpbench.results.cell_folder import DamagedError
from interpbench.results.run_folder import RunFolder
from interpbench.results.run_info import CellRecord, ModelRecord, RunInfo
from interpbench.running.plan import Plan
from interpbench.running.record import found_notices, identity_of, versions
from interpbench.suite.cells import Cell


@dataclass(frozen=True)
class Kept:
    """What need not be run again.

    Attributes:
        cells: that are finished and whole; failed ones are not among them, in case their plugin was
            mended.
        models: what was measured of the models of these cells, by their labels.
        notices: what was damaged, and is made anew.
    """

    cells: frozenset[Cell] = frozenset()
    models: Mapping[str, ModelRecord] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    def refuse_another(self, measured: ModelRecord) -> None:
        """Refuses to go on with a model that is not what the kept cells were computed on.

        Raises:
            RunFolderError: if it sees other pixels, or is scored by another kind of passes.
        """
        before = self.models.get(measured.model)
        if before is None:
            return
        if before.pixels_sha256 != measured.pixels_sha256 or before.skipped != measured.skipped:
            raise RunFolderError(
                f"The images are not those that {measured.model!r} saw when its finished cells "
                "were computed: the files have changed, or are read otherwise. Bring them back, or "
                "start afresh with --overwrite or another --output."
            )
        then, now = (_is_compiled(model) for model in (before, measured))
        if then != now:
            said = {True: "compiled", False: "not compiled"}
            raise RunFolderError(
                f"{measured.model!r} was {said[then]} when its finished cells were scored and is "
                f"{said[now]} now, which rounds otherwise. Give --compile "
                f"{'always' if then else 'never'}, or start afresh with --overwrite or another "
                "--output."
            )


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
    models = {}
    for dataset, model in sorted({(it.dataset, it.model) for it in whole if it.status == "ok"}):
        try:
            models[model] = folder.model(dataset, model).record
        except DamagedError as damaged:
            notices.append(_note(damaged))
    finished, planned = set[Cell](), set(plan.cells)
    for record in whole:
        if record.status == "ok" and record.cell in planned and record.model in models:
            _refuse_another_source(record, plan, folder)
            finished.add(record.cell)
    of_finished = {label: models[label] for label in {cell.model for cell in finished}}
    return Kept(frozenset(finished), of_finished, tuple(notices))


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
        told = _told(folder, info.precision)
        notices = tuple(notice for notice in notices if notice not in told)
    suite = info.suite.model_copy(update={"changed": recorded.suite.changed or info.suite.changed})
    return info.model_copy(
        update={
            "suite": suite,
            "command": recorded.command,
            "started": recorded.started,
            "notices": tuple(dict.fromkeys([*notices, *old.notices])),
        }
    )


def _refuse_another_run(folder: RunFolder, plan: Plan) -> None:
    recorded = folder.info()
    differing = identity_of(plan).differences(recorded.identity)
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


def _refuse_another_source(record: CellRecord, plan: Plan, folder: RunFolder) -> None:
    if record.method_hash != plan.method(record.cell).plugin.source_hash:
        raise RunFolderError(
            f"Method {record.method!r} has changed since its cells in {folder.path} were "
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


def _is_compiled(model: ModelRecord) -> bool:
    return model.scoring is not None and model.scoring.compiled.startswith("yes")
