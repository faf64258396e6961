"""What `ws3 doctor` says about one thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "fault"]


@dataclass(frozen=True)
class Finding:
    """One line of `ws3 doctor`.

    Attributes:
        what: The thing, in a word or two.
        verdict: `warning`: a run works, but slowly, or only if something is seen to. `fault`: it
            won't.
        text: What was found.
        advice: What to do; empty if nothing is to be done.
    """

    what: str
    verdict: Verdict
    text: str
    advice: str = ""

    def __str__(self) -> str:
        advice = f" -> {self.advice}" if self.advice else ""
        return f"{self.verdict:7} {self.what}: {self.text}{advice}"
