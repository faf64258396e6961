"""Lists of pictures with the numbers of their classes, named by synsets.txt."""

from __future__ import annotations

from pathlib import PurePosixPath

from ws3.datasets.importing.found import Found
from ws3.datasets.importing.reading import Gathering, read_text, split_of
from ws3.datasets.importing.tree import Tree
from ws3.errors import Ws3Error
from ws3.messages import shown

_NAMES = "synsets.txt"


def read(tree: Tree) -> Found | None:
    """Read lists such as train.txt with lines such as `a.jpg 0 1`.

    Raises:
        Ws3Error: If a line has a number that no name bears.
    """
    sources = [name for name in tree.files if PurePosixPath(name).name == _NAMES]
    if not sources:
        return None
    lines = (line.strip() for line in read_text(tree, sources[0]).splitlines())
    classes = [line for line in lines if line]
    lists = [name for name in tree.texts(".txt") if PurePosixPath(name).name != _NAMES]
    gathered = Gathering(tree, str(tree.path(sources[0])))
    for name in lists:
        for number, line in enumerate(read_text(tree, name).splitlines(), start=1):
            # A name may hold blanks: the numbers are what stands at the end.
            words = line.rstrip().split(" ")
            numbers = []
            while len(words) > 1 and words[-1].isdecimal():
                numbers.append(int(words.pop()))
            if not any(words):
                continue
            if max(numbers, default=0) >= len(classes):
                raise Ws3Error(
                    f"{tree.path(name)}: line {number}: {shown(line)}: {_NAMES} names "
                    f"{len(classes)} classes, numbered from 0"
                )
            labels = [classes[one] for one in sorted(numbers)]
            gathered.add(" ".join(words), labels, split_of(name), beside=name)
    return gathered.found("lists with numbers", f"{sources[0]} names the classes", classes)
