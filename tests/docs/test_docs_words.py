"""The words of the documentation, comments and messages are those of plain English."""

from __future__ import annotations

import doc_words as words


def test_no_checked_file_uses_a_word_that_is_avoided():
    found = [place for place in words.places() if place[0] not in words.NOT_YET]
    assert not found, "\n".join(f"{name}:{line}: {what!r}" for name, line, what, _ in found)


def test_only_files_that_are_there_are_excepted():
    assert not [name for name in words.NOT_YET if not (words.REPOSITORY / name).exists()]


def test_each_form_is_found_and_its_plain_counterpart_is_not():
    for text in (
        "made anew",
        "lest it fail",
        "a receipt vouches for it",
        "recall, likewise.",
        "the giver's samples",
        "the first so many images",
        "a line an image",
        "Images a job",
        "once a seed",
    ):
        assert list(words.avoided(text)), text
    for text in (
        "made again",
        "a receipt lists it",
        "its masks likewise change",
        "the first 10 images",
        "a line per image",
        "give the job a name",
        "which batch an image was in",
    ):
        assert not list(words.avoided(text)), text
