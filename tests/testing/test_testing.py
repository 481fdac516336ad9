"""The contracts find each planted fault, and nothing wrong with methods that have none."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from interpbench.core.errors import InterpBenchError, ParameterError
from interpbench.core.types import Model
from interpbench.testing import CONTRACTS, check_method, linear_model, load_method, maps_of, wrap
from interpbench.testing.case import Case
from interpbench.testing.models import MODELS
from tests.faulty_methods import BREAKS, FAULTY, SOUND

(DEVICE,) = (contract for contract in CONTRACTS if contract.name == "device")


@pytest.mark.parametrize("name", FAULTY.names("method"))
def test_a_fault_breaks_the_contracts_that_it_should_and_no_other(name: str) -> None:
    failed = [outcome for outcome in check_method(FAULTY.get("method", name)) if outcome.failed]
    assert {outcome.contract for outcome in failed} == set(BREAKS[name]), [
        str(outcome) for outcome in failed
    ]
    for outcome in failed:
        assert BREAKS[name][outcome.contract] in outcome.what
        assert outcome.remedy.endswith(".")
        assert outcome.remedy in str(outcome)


@pytest.mark.parametrize("name", SOUND.names("method"))
def test_nothing_is_wrong_with_a_sound_method(name: str) -> None:
    outcomes = check_method(SOUND.get("method", name))
    assert [str(outcome) for outcome in outcomes if outcome.failed] == []
    assert {"passed", "not applicable"} == {outcome.state for outcome in outcomes}


def test_every_contract_is_broken_by_some_planted_fault() -> None:
    assert {contract for broken in BREAKS.values() for contract in broken} == {
        c.name for c in CONTRACTS
    } - {"device"}


def test_every_contract_says_what_is_promised_in_a_sentence() -> None:
    for contract in CONTRACTS:
        assert contract.promise.endswith("."), contract.name
    assert len({str(contract) for contract in CONTRACTS}) == len(CONTRACTS)


def test_there_is_an_outcome_for_each_contract_and_model() -> None:
    outcomes = check_method(SOUND.get("method", "choosy"))
    assert [(o.contract, o.model) for o in outcomes] == [
        (contract.name, model)
        for contract in CONTRACTS
        for model in ([""] if contract.together else MODELS)
    ]
    refused = [o for o in outcomes if o.model in ("plain", "tokens")]
    assert {(o.state, o.what) for o in refused if o.contract != "black box"} == {
        ("not applicable", "the model has no batch norm.")
    }


def test_contracts_can_be_tried_one_by_one() -> None:
    method = FAULTY.get("method", "predicted")
    chosen = [contract for contract in CONTRACTS if contract.name in ("shape", "target")]
    assert [(o.contract, o.failed) for o in check_method(method, chosen)] == [
        ("shape", False)
    ] * 3 + [("target", True)] * 3


def test_other_models_can_be_brought() -> None:
    def build() -> Model:
        return wrap(nn.Sequential(nn.Flatten(), nn.Tanh(), nn.Linear(3 * 8 * 8, 2)), 8, 2)

    outcomes = check_method(SOUND.get("method", "plain"), models={"mine": build})
    assert {o.model for o in outcomes} == {"", "mine"}
    assert [o for o in outcomes if o.failed] == []
    assert any(
        o.failed for o in check_method(FAULTY.get("method", "predicted"), models={"mine": build})
    )


def test_a_map_that_is_not_where_the_images_are_is_found() -> None:
    """The meta device stands for another one."""
    plain = SOUND.get("method", "plain")
    elsewhere = replace(plain, call=lambda model, x, target: torch.empty(3, 16, 16, device="meta"))
    found = {outcome.what for outcome in check_method(elsewhere, [DEVICE])}
    assert found == {"The images are on cpu, the map on meta."}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_method_that_forgets_the_device_is_found() -> None:
    assert all(
        outcome.failed for outcome in check_method(SOUND.get("method", "single-alone"), [DEVICE])
    )


@pytest.mark.parametrize("name", MODELS)
def test_models_are_the_same_each_time_and_leave_the_random_state_alone(name: str) -> None:
    before = torch.get_rng_state()
    first, second = MODELS[name](), MODELS[name]()
    assert torch.equal(torch.get_rng_state(), before)
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key])
    assert not any(p.requires_grad for p in first.parameters())
    assert not any(m.training for m in first.modules())


def test_checking_leaves_the_random_state_alone() -> None:
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]  # noqa: NPY002
    check_method(SOUND.get("method", "from-generators"))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # type: ignore[index]  # noqa: NPY002
    assert random.getstate() == states[2]


def test_the_images_of_each_forward_pass_are_counted() -> None:
    case = Case(SOUND.configure("method", "plain"), "plain", MODELS["plain"])
    assert case.plain.passes == (3,)
    assert case.call(batch=1).passes == (1, 1, 1)


def test_a_linear_models_maps_have_a_closed_form() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, x = (
        torch.randn(5, 3, 8, 8, generator=generator),
        torch.randn(2, 3, 8, 8, generator=generator),
    )
    target = torch.tensor([4, 0])
    found = maps_of(load_method("gradient-x-input"), linear_model(weight), x, target)
    torch.testing.assert_close(found.saliency, (weight[target] * x).sum(1))


def test_maps_of_a_method_that_leaves_something_behind_are_refused() -> None:
    def call() -> Tensor:
        weight = torch.randn(5, 3, 8, 8)
        return maps_of(
            FAULTY.configure("method", "hook"),
            linear_model(weight),
            weight[:2],
            torch.tensor([0, 1]),
        ).valid

    with pytest.raises(AssertionError, match="hook left on the model: network: hook left behind"):
        call()


def test_a_method_is_loaded_by_what_one_types() -> None:
    assert load_method("occlusion:window=4").label == "occlusion:window=4"
    with pytest.raises(ParameterError, match="Load one method at a time"):
        load_method("occlusion,saliency")
    with pytest.raises(InterpBenchError, match="Did you mean 'saliency'"):
        load_method("salience")
