"""Doors: what an installed package may add, and what is said of a package that doesn't fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from ws3.errors import Ws3Error
from ws3.registry import Registry, deferred


@pytest.fixture
def numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[int]:
    """Return a registry to which an installed package adds good and bad entries."""
    (tmp_path / "added_numbers.py").write_text("three = 3\nword = 'three'\n")
    facts = tmp_path / "added_numbers-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: added-numbers\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        "[ws3.test_numbers]\n"
        "three = added_numbers:three\n"
        "word = added_numbers:word\n"
        "nothing = added_numbers:nothing\n"
        "gone = no_such_module:one\n"
        "one = added_numbers:three\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return Registry("number", "ws3.test_numbers", {"one": 1, "two": 2}, int)


def test_own_names_come_first_and_cannot_be_taken(numbers: Registry[int]) -> None:
    assert list(numbers) == ["one", "two", "gone", "nothing", "three", "word"]
    assert (numbers["one"], numbers["two"], numbers["three"]) == (1, 2, 3)
    assert "three" in numbers
    assert "four" not in numbers


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("tree", "there is no number 'tree'; did you mean three. choose from: one, two, gone, not"),
        ("gone", "the number gone can't be imported from no_such_module:one .*; mend or remove"),
        ("nothing", "the number nothing can't be imported from added_numbers:nothing"),
        ("word", "the number word: added_numbers:word is no int; mend or remove the package"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    numbers: Registry[int], name: str, sentence: str
) -> None:
    with pytest.raises(Ws3Error, match=sentence) as error:
        numbers[name]
    assert "\n" not in str(error.value)


def test_a_deferred_function_imports_nothing_before_it_is_called() -> None:
    missing = deferred("no_such_module:function")
    with pytest.raises(ImportError):
        missing()
    assert deferred("json:dumps")([1], indent=None) == "[1]"
