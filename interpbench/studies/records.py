"""What a study says of how its maps were made, and of how the methods fared."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from interpbench.attribution.explainer import Explainer
from interpbench.core.devices import describe
from interpbench.files.records import Record
from interpbench.files.versions import versions
from interpbench.results.run_info import CardRecord, FindingRecord


class MethodRecord(Record):
    """A method's parameters, and the hash of its source."""

    parameters: dict[str, Any]
    source_hash: str


class Provenance(Record):
    """How maps are made: model, weights' hash, methods with parameters, seed, versions."""

    command: tuple[str, ...]
    seed: int
    device: str
    versions: dict[str, str]
    model: CardRecord
    methods: dict[str, MethodRecord]

    @classmethod
    def of(cls, explainer: Explainer) -> "Provenance":
        """Of the maps that an explainer makes."""
        return cls(
            command=tuple(sys.argv),
            seed=explainer.seed,
            device=describe(explainer.device),
            versions=versions(),
            model=CardRecord.of(explainer.model.card, logits=False),
            methods={
                label: MethodRecord(
                    parameters=dict(choice.values), source_hash=choice.plugin.source_hash
                )
                for label, choice in explainer.explained.methods.items()
            },
        )


class MethodsOutcome(Record):
    """How the methods fared.

    Attributes:
        notices: what the user should know.
        findings: what is wrong with the model.
        failures: label -> why a method failed.
        constant_maps: label -> how many maps say nothing.
        left_behind: label -> what a method left on the model, which was undone.
    """

    notices: tuple[str, ...]
    findings: tuple[FindingRecord, ...]
    failures: dict[str, str]
    constant_maps: dict[str, int]
    left_behind: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, explainer: Explainer) -> "MethodsOutcome":
        """Of the methods of an explainer."""
        accounts = explainer.accounts
        return cls(
            notices=tuple(explainer.notices),
            findings=tuple(
                FindingRecord(**asdict(finding)) for finding in explainer.examined.findings
            ),
            failures=explainer.failures,
            constant_maps={
                label: account.constant for label, account in accounts.items() if account.constant
            },
            left_behind={
                label: tuple(account.left_behind)
                for label, account in accounts.items()
                if account.left_behind
            },
        )

    def with_notices(self, notices: Sequence[str]) -> "MethodsOutcome":
        """The same, with what the user should know of the images first."""
        return self.model_copy(update={"notices": (*notices, *self.notices)})


def notes_on(explainer: Explainer) -> tuple[str, ...]:
    """What the user should know at the end, a line each."""
    notes = [f"Note: {notice}" for notice in explainer.notices]
    notes += [f"failed: {label}: {why}" for label, why in explainer.failures.items()]
    for label, account in explainer.accounts.items():
        if account.left_behind:
            notes.append(
                f"Note: {label} left behind: {', '.join(list(account.left_behind)[:3])}; "
                "it was undone."
            )
        if account.constant:
            notes.append(
                f"Note: {label} gave a constant map for {account.constant} "
                f"of {account.images} images."
            )
    return tuple(notes)
