"""What a scheduler and a worker process say to each other, as lines of JSON."""

import json
from base64 import b64decode, b64encode
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from interpbench.results.block_files import BlockResult, block_content, block_of
from interpbench.results.cell_folder import files_of_model, read_model
from interpbench.results.cell_results import CellResult, ModelResult
from interpbench.results.run_info import CellRecord
from interpbench.running.blocks import Block
from interpbench.running.scheduler import Answer, At, Done, Job, Made, Ready, Refused
from interpbench.suite.cells import Cell


def job_line(job: Job) -> str:
    """A job as a line."""
    return json.dumps(
        {
            "model": job.model,
            "block": None if job.block is None else vars(job.block),
            "cells": [list(cell.as_dict().values()) for cell in job.cells],
            "decided": None if job.decided is None else _model_as_json(job.decided),
        }
    )


def job_of(line: str) -> Job:
    """A job again."""
    said = json.loads(line)
    return Job(
        said["model"],
        None if said["block"] is None else Block(**said["block"]),
        tuple(Cell(*names) for names in said["cells"]),
        None if said["decided"] is None else _model_of(said["decided"]),
    )


def answer_line(answer: Answer) -> str:
    """An answer as a line; but for that a worker has died, which it cannot say itself."""
    return json.dumps(_answer_as_json(answer))


def answer_of(line: bytes) -> Answer:
    """An answer again.

    Raises:
        ValueError: or another error, if it is none.
    """
    match json.loads(line):
        case {"ready": _}:
            return Ready()
        case {"at": list(names), "images": int(images)}:
            return At(Cell(*names), images)
        case {"model": dict(files)}:
            return Made(_model_of(files))
        case {"block": str(content)}:
            return Made(block_of(b64decode(content)))
        case {"failed": record}:
            return Made(CellResult(CellRecord.model_validate(record)))
        case {"done": str(damaged)}:
            return Done(damaged)
        case {"refused": str(reason)}:
            return Refused(reason)
    raise ValueError("not an answer")


def _answer_as_json(answer: Answer) -> dict[str, Any]:
    match answer:
        case Ready():
            return {"ready": True}
        case At(cell, images):
            return {"at": list(cell.as_dict().values()), "images": images}
        case Made(ModelResult() as model):
            return {"model": _model_as_json(model)}
        case Made(BlockResult() as block):
            return {"block": b64encode(block_content(block)).decode()}
        case Made(CellResult() as failed):
            return {"failed": failed.record.contents()}
        case Done(damaged):
            return {"done": damaged}
        case Refused(reason):
            return {"refused": reason}
        case _:
            raise ValueError("who has died says nothing")


def _model_as_json(model: ModelResult) -> dict[str, str]:
    return {name: b64encode(content).decode() for name, content in files_of_model(model).items()}


def _model_of(files: dict[str, str]) -> ModelResult:
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(b64decode(content))
        [record] = Path(folder).glob("*.json")
        return read_model(record)
