"""The contracts of models find each planted fault, and nothing wrong with models that have none."""

import runpy
from pathlib import Path

import pytest

import interpbench
from interpbench.registry.discovery import discover
from interpbench.registry.new_plugin import write_plugin
from interpbench.testing import MODEL_CONTRACTS, check_model
from tests.command_line import call
from tests.faulty_architectures import BREAKS, FAULTY, SOUND

REGISTRY = discover()


@pytest.mark.parametrize("name", FAULTY.names("model"))
def test_a_fault_breaks_the_contracts_that_it_should_and_no_other(name: str) -> None:
    failed = [outcome for outcome in check_model(FAULTY.get("model", name)) if outcome.failed]
    assert {outcome.contract for outcome in failed} == set(BREAKS[name]), [*map(str, failed)]
    for outcome in failed:
        assert BREAKS[name][outcome.contract] in outcome.what
        assert outcome.remedy.endswith(".")


def test_every_contract_is_broken_by_some_planted_fault() -> None:
    broken = {contract for breaks in BREAKS.values() for contract in breaks}
    assert broken == {contract.name for contract in MODEL_CONTRACTS}


@pytest.mark.parametrize("name", SOUND.names("model"))
def test_nothing_is_wrong_with_a_sound_model(name: str) -> None:
    outcomes = check_model(SOUND.get("model", name))
    assert [str(outcome) for outcome in outcomes if outcome.failed] == []
    assert {"passed", "not applicable"} == {outcome.state for outcome in outcomes}


def test_a_size_that_a_model_refuses_does_not_apply() -> None:
    outcomes = check_model(SOUND.get("model", "answers-in-a-dict"))
    refused = [outcome for outcome in outcomes if outcome.model == "96 pixels"]
    assert {outcome.what for outcome in refused if outcome.contract != "builds"} == {
        "it takes images of 64 pixels."
    }


SLOW = ("torchvision:googlenet", "mobilenet_v2", "vit_small", "efficientnet_lite0")


@pytest.mark.parametrize(
    "text", ["resnet18:width=4", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def test_bundled_models_keep_their_contracts(text: str) -> None:
    [checked] = interpbench.check(text)
    assert (checked.kind, [str(outcome) for outcome in checked.broken]) == ("model", [])


def test_a_new_model_works_as_it_is_written(tmp_path: Path) -> None:
    written = write_plugin("model", "three-stages", REGISTRY, tmp_path)
    code, out, _ = call("check", written.plugin)
    assert code == 0, out
    assert out.splitlines()[1].split() == ["contract", "64", "pixels", "96", "pixels", "promise"]
    tests = runpy.run_path(str(written.test))
    tests["test_without_a_head_s_weights_its_bias_is_left"]()
    tests["test_it_keeps_its_contracts"](MODEL_CONTRACTS[2])


def test_a_function_in_a_file_is_checked_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        '"""Mine."""\nfrom torch import nn\n\n\ndef build(classes, size):\n'
        '    """Linear."""\n'
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, classes))\n"
    )
    [checked] = interpbench.check(f"{tmp_path / 'mine.py'}:build")
    assert {outcome.contract for outcome in checked.broken} == {"documentation", "preparation"}
