"""The contracts of data sets find each planted fault, and nothing wrong with data that have none."""

import runpy
from pathlib import Path

import pytest

import interpbench
from interpbench.registry.discovery import discover
from interpbench.registry.new_plugin import write_plugin
from interpbench.testing import DATASET_CONTRACTS, check_dataset
from tests.command_line import call, refused
from tests.faulty_datasets import BREAKS, FAULTY, SOUND

REGISTRY = discover()


@pytest.mark.parametrize("name", FAULTY.names("dataset"))
def test_a_fault_breaks_the_contracts_that_it_should_and_no_other(name: str) -> None:
    failed = [outcome for outcome in check_dataset(FAULTY.get("dataset", name)) if outcome.failed]
    assert {outcome.contract for outcome in failed} == set(BREAKS[name]), [*map(str, failed)]
    for outcome in failed:
        assert BREAKS[name][outcome.contract] in outcome.what
        assert outcome.remedy.endswith(".")


def test_every_contract_is_broken_by_some_planted_fault() -> None:
    assert set(BREAKS) == set(FAULTY.names("dataset"))
    broken = {contract for breaks in BREAKS.values() for contract in breaks}
    assert broken == {contract.name for contract in DATASET_CONTRACTS}


def test_nothing_is_wrong_with_sound_data() -> None:
    outcomes = check_dataset(SOUND.get("dataset", "photographs"))
    assert [str(outcome) for outcome in outcomes if outcome.state != "passed"] == []


@pytest.mark.parametrize("text", ["planted:count=12", "mosaic:planted"])
def test_bundled_data_keep_their_contracts(text: str) -> None:
    [checked] = interpbench.check(text)
    assert (checked.kind, [str(outcome) for outcome in checked.broken]) == ("dataset", [])


def test_a_new_data_set_works_as_it_is_written(tmp_path: Path) -> None:
    written = write_plugin("dataset", "coloured-squares", REGISTRY, tmp_path)
    code, out, _ = call("check", written.plugin)
    assert code == 0, out
    assert out.splitlines()[1].split() == ["contract", "samples", "promise"]
    tests = runpy.run_path(str(written.test))
    tests["test_the_evidence_has_the_class_s_colour"]()
    tests["test_it_keeps_its_contracts"](DATASET_CONTRACTS[2])


def test_a_name_that_several_kinds_have_says_which(tmp_path: Path) -> None:
    said = refused("check", "hf:a/b")
    assert (
        "'hf' is a model and a dataset: say which, check model:hf:a/b or check dataset:hf:a/b"
        in said
    )
    code, out, _ = call("check", f"dataset:hf:{tmp_path}")
    assert code == 1
    assert "opens FAILED" in out


def test_where_data_lie_is_said_with_the_name(tmp_path: Path) -> None:
    code, out, _ = call("check", f"imagefolder:{tmp_path / 'nowhere'}")
    assert code == 1
    assert "There is no image folder" in out
    assert "check FILE --dataset imagefolder:root=FOLDER" in out
