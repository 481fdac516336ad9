"""The answer in at most ten lines: what to use, how sure that is, and what would change it."""

from collections.abc import Callable, Sequence

import pandas as pd

from interpbench.studies.advise.claims import (
    Teller,
    hundredths,
    percent,
    significant,
    tenths,
    whole,
)
from interpbench.studies.advise.findings import (
    FAILS,
    METHODS,
    NOT_BETTER,
    ROUNDS,
    SUMMARY,
    SURVIVAL,
    Findings,
    images_needed,
)
from interpbench.studies.advise.race import DEAR, FAILED, TIME, WORSE
from interpbench.studies.sanity.verdict import SENSITIVE

NAMED = 5  # methods in a list; more are counted


class Answer(Teller):
    """Tells what was found."""

    def __init__(self, found: Findings) -> None:
        """Makes all lines."""
        super().__init__(found.tables)
        self._found = found
        self._methods = found.tables[METHODS].set_index("method", drop=False)
        summary = found.tables[SUMMARY].set_index("key")
        self._counts, self._names = summary["value"], summary["text"]
        for tell in (
            self._verdict,
            self._wins,
            self._cost,
            self._sanity,
            self._settings,
            self._not_these,
            self._left_behind,
            self._rests_on,
            self._more_images,
            self._elsewhere,
        ):
            tell()
            self.end_line()

    def _verdict(self) -> None:
        recommended, leader = self._found.recommended, self._found.leader
        if len(recommended) == 1:
            self._name("Use {}", recommended[0])
            self.say(": shown to be better than every control; no other that was is level with it.")
        elif recommended:
            self._count("Use one of these {}", "recommended")
            self._count(", which {} images do not tell apart: ", "images")
            self._list(recommended)
            self._text("; the cheapest is {}.", "cheapest")
        elif not leader:
            self.say("Undecided: no method is left that has scores and passes the sanity checks.")
        elif not self._names["best control"]:
            self._name("Undecided: {} wins most, but no control was scored beside it.", leader)
        elif self._methods.loc[leader, "than_control"] == "better":
            self._name("Undecided: {} wins most, but was not shown to beat every control.", leader)
        else:
            self._name("Undecided: {} wins most, but was not shown to be better than ", leader)
            self._text("the control {}", "best control")
            self._cell(" (p = {}).", leader, "p_control", significant)

    def _wins(self) -> None:
        leader = self._found.leader
        if not leader:
            return
        self._name("{} wins ", leader)
        self._cell("{} ", leader, "wins", percent)
        self._cell("[{}, ", leader, "low", percent)
        text = "{}] of its comparisons with its best rivals and the controls"
        self._cell(text, leader, "high", percent)
        control = self._names["best control"]
        if control:
            self._text("; the best control, {}, ", "best control")
            self._cell("{}", control, "wins", percent)
        self.say(".")

    def _cost(self) -> None:
        timed = [name for name in self._chosen if self._methods.loc[name, "ms"] >= 0]
        for number, name in enumerate(timed[:NAMED]):
            self._name("; {} " if number else "A map takes: {} ", name)
            self._cell("{} ms", name, "ms", tenths)
            if self._methods.loc[name, "forward_passes"] >= 0:
                self._cell(" ({} forward", name, "forward_passes", whole)
                self._cell(" and {} backward passes", name, "backward_passes", whole)
                if self._methods.loc[name, "windows"]:
                    self._cell(", {} windows", name, "windows", whole)
                self.say(")")
        if timed:
            self.say(".")

    def _sanity(self) -> None:
        checked = [name for name in self._chosen if self._methods.loc[name, "sanity_model"]]
        if self._chosen and not checked:
            self.say("There was no time for the sanity checks.")
        if not checked:
            return
        self._count("Sanity checks, by the maps' rank correlation on {} images: ", "sanity_images")
        for number, name in enumerate(checked[:NAMED]):
            row = self._methods.loc[name]
            passes = row["sanity_model"] == row["sanity_class"] == SENSITIVE
            self._name("; {} " if number else "{} ", name)
            self.say("passes" if passes else "is undecided")
            if pd.notna(row["new_weights"]):
                self._cell(" ({} with new weights", name, "new_weights", hundredths)
                if pd.notna(row["other_class"]):
                    self._cell(", {} for another class", name, "other_class", hundredths)
                self.say(")")
        self.say(".")

    def _settings(self) -> None:
        if not self._found.leader:
            return
        if not self._counts["settings"]:
            self.say("There was no time for other settings.")
            return
        firsts = self._methods["first_under"].sort_values(ascending=False, kind="stable")
        leader = self._found.leader
        self._name("{} ranks first under ", leader)
        self._cell("{} of ", leader, "first_under", whole)
        self._count("{} settings", "settings")
        others = [name for name in firsts.index if firsts[name] and name != leader]
        for name in others[:NAMED]:
            self._name(", {} under ", name)
            self._cell("{}", name, "first_under", whole)
        control = self._names["best control"]
        survival = self._found.tables[SURVIVAL]
        of_two = survival[
            ((survival["method"] == leader) & (survival["other"] == control))
            | ((survival["method"] == control) & (survival["other"] == leader))
        ]
        if len(of_two):
            row, first = of_two.iloc[0]["row"], of_two.iloc[0]["method"] == leader
            ways = ("better", "worse") if first else ("worse", "better")
            self.tell("; {} show it better than ", SURVIVAL, row, ways[0], whole)
            self._text("{}", "best control")
            self.tell(", {} worse", SURVIVAL, row, ways[1], whole)
        self._count(", on {} images.", "settings_images")

    def _not_these(self) -> None:
        begun = False
        for advice, why in (
            (FAILS, "fails the sanity checks"),
            (FAILED, "failed, or does not apply"),
        ):
            names = self._with(advice)
            if names:
                self.say("; " if begun else "Do not use: ")
                self._list(names, advice)
                self.say(f" ({why})")
                begun = True
        worse = self._with(WORSE)
        if worse:
            self.say("; " if begun else "")
            more = "more " if begun else ""
            text = f"{more}{'was' if len(worse) == 1 else 'were'} shown to be worse"
            self._count("{} " + text, "count: worse")
            begun = True
        if begun:
            self.say(".")

    def _left_behind(self) -> None:
        begun = False
        for advice, why in (
            (NOT_BETTER, "not shown to be better than a control"),
            (DEAR, "too slow for the budget"),
            (TIME, "left behind for time, and not shown to be worse"),
        ):
            names = self._with(advice)
            if advice == NOT_BETTER and not self._found.recommended:
                names = []  # the verdict says it of all
            if names:
                self.say("; " if begun else "Not answered: ")
                self._list(names, advice)
                self.say(f" ({why})")
                begun = True
        if begun:
            self.say(".")

    def _rests_on(self) -> None:
        self._count("The answer rests on {} images; ", "images")
        self._count("of {} scored methods ", "scored")
        self._count("{} reached the end", "finalists")
        rounds = self._found.tables[ROUNDS]
        for name in rounds.loc[rounds["ended"] != "", "round"]:
            self.tell("; the race ended since {}", ROUNDS, name, "ended")
        self.say(".")

    def _more_images(self) -> None:
        """How many images would tell the leader from the nearest that it cannot be told from."""
        leader = self._found.leader
        if not leader:
            return
        if not self._found.recommended and self._methods.loc[leader, "images_control"] > 0:
            self._text("If differences are as measured, the control {} ", "best control")
            text = "would be told apart from the leader by about {} images."
            self._cell(text, leader, "images_control", whole)
            return
        needed = images_needed(self._found.tables[METHODS])
        if len(needed):
            name = str(needed.index[0])
            self._name("If differences are as measured, {} would be told apart from ", name)
            self._name("{} by about ", leader)
            self._cell("{} images", name, "images_leader", whole)
            if len(needed) > 1:
                last = str(needed.index[-1])
                self._name(", {} by ", last)
                self._cell("{}", last, "images_leader", whole)
            self.say(".")

    def _elsewhere(self) -> None:
        """How much of it other images bear out, where it was held against any."""
        if "statements" in self._counts:
            self._count("Held against {} other images, ", "other images")
            self._count("{} of ", "statements that hold")
            self._count("{} statements hold.", "statements")

    @property
    def _chosen(self) -> tuple[str, ...]:
        """Those that are recommended; without any, the one that wins most."""
        leader = self._found.leader
        return self._found.recommended or ((leader,) if leader else ())

    def _with(self, advice: str) -> list[str]:
        return self._methods.index[self._methods["advice"] == advice].tolist()

    def _list(self, names: Sequence[str], advice: str = "") -> None:
        """The first names, and how many there are besides, which `advice` counts."""
        for number, name in enumerate(names[:NAMED]):
            self._name(", {}" if number else "{}", name)
        if len(names) > NAMED:
            self._count("; {} in all", f"count: {advice}" if advice else "recommended")

    def _name(self, text: str, method: str) -> None:
        self.tell(text, METHODS, method, "method")

    def _cell(self, text: str, method: str, column: str, show: Callable[[float], str]) -> None:
        self.tell(text, METHODS, method, column, show)

    def _count(self, text: str, key: str) -> None:
        self.tell(text, SUMMARY, key, "value", whole)

    def _text(self, text: str, key: str) -> None:
        self.tell(text, SUMMARY, key, "text")
