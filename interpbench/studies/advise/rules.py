"""What is measured, and the rules by which the race goes on: settings in `advise.toml`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveInt

from interpbench.core.errors import SuiteError
from interpbench.files.toml_settings import Settings, load
from interpbench.results.tables import LEVEL

FOLDER = Path(__file__).parent
SUITE = FOLDER / "suite.toml"
Share = Annotated[float, Field(gt=0, lt=1)]


class Rules(Settings):
    """What `advise.toml` says.

    Attributes:
        first: images of the first round.
        fewest: new images below which a further round is not worth its while.
        growth: from round to round, times as many new images.
        rounds: of the race at most.
        finalists: methods that the settings and the sanity checks are asked of, at most.
        race: share of the budget until which the race lasts.
        settings_share: of what is left then, the share for the round under all settings.
        race_alone: as `race`, where that would be too little for such a round.
        dear: share of the race's time that a single method may take.
        sanity_tests, sanity_images: of the finalists.
        families: name -> metrics; each family counts alike.
        settings: further metrics for the finalists -> in what each differs.
    """

    first: Annotated[int, Field(ge=2)]
    fewest: PositiveInt
    growth: Annotated[int, Field(ge=2)]
    rounds: PositiveInt
    finalists: Annotated[int, Field(ge=2)]
    race: Share
    settings_share: Share
    race_alone: Share
    dear: Share
    sanity_tests: tuple[str, ...]
    sanity_images: Annotated[int, Field(ge=2)]
    families: dict[str, tuple[str, ...]]
    settings: dict[str, str]

    @property
    def level(self) -> float:
        """Of significance of the answer, 0..1: half of the 5 %.

        Whoever looks again and again has to share the 5 %, see `results.looks`. The last look,
        after the round under all settings, is the one that is answered by; the looks of the race
        share the other half.
        """
        return LEVEL / 2

    @property
    def level_of_a_look(self) -> float:
        """Of significance of each look of the race, 0..1."""
        return LEVEL / 2 / self.rounds


def bundled_rules() -> Rules:
    """The bundled ones."""
    return load(Rules, "rules", "advise", FOLDER, SuiteError)
