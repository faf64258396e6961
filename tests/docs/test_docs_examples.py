"""The examples in docstrings (`>>>`) print what stands below them."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import ws3

MODULES = ["ws3", *(module.name for module in pkgutil.walk_packages(ws3.__path__, "ws3."))]
# Importing this one runs the command.
MODULES.remove("ws3.__main__")


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_are_true(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert failed == 0


@pytest.mark.parametrize("name", ["doc_words", "test_docs_snippets"])
def test_the_examples_of_these_tests_are_true(name):
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried
    assert failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [
        example
        for name in MODULES
        for example in finder.find(importlib.import_module(name))
        if example.examples
    ]
    assert len(found) >= 3
