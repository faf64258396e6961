"""A short fuzz of all borders; `make fuzz` is the long one. And that the harness would notice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from fuzz.__main__ import chosen
from fuzz.borders import BORDERS
from fuzz.harness import Border, Counts, Fuzz, Input, complaint
from fuzz.mutations import PLACES, spoil_bytes, spoil_json, spoil_lines, spoil_place, spoil_value
from fuzz.worlds import neighbour

TESTS = Path(__file__).parents[1]


@pytest.mark.slow
def test_sixty_spoilt_inputs_end_well_or_in_a_sentence(tmp_path: Path) -> None:
    # In a process of its own: it forks, and pytest has threads.
    command = [sys.executable, "-m", "fuzz", "--count", "60", "--folder", str(tmp_path / "fuzz")]
    paths = os.pathsep.join((str(TESTS.parent), str(TESTS)))
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all" in done.stdout


def test_every_border_has_its_share() -> None:
    inputs = chosen(5000, None)
    assert set(inputs) == {border.name for border in BORDERS}
    assert abs(sum(map(len, inputs.values())) - 5000) < 10
    assert all(len(numbers) == 1 for numbers in chosen(1, None).values())
    assert chosen(5000, "coco:7") == {"coco": range(7, 8)}
    assert chosen(50, "coco") == {"coco": range(50)}
    with pytest.raises(SystemExit, match="no such border"):
        chosen(1, "nowhere:1")


@pytest.mark.parametrize(
    ("status", "said", "wrong"),
    [
        (0, "", ""),
        (2, "ws3: config.yaml: a sentence\n", ""),
        (2, "Usage: ws3 [OPTIONS]\nError: no such option\n", ""),
        (1, "Using workflow specific profile p\nconfig: run: a text is expected\n", ""),
        (1, "r: a is damaged\nr: 3 results read, 1 damaged\n", ""),
        (2, "", "0 sentences"),
        (2, "ws3: one\nws3: two\n", "2 sentences"),
        (1, "", "status 1 without a reason"),
        (1, "Traceback (most recent call last):\n", "a traceback"),
        (139, "", "status 139"),
        (-11, "", "ended by SIGSEGV"),
        (-14, "", "ended by SIGALRM"),
        (2, "ws3: <_io.BytesIO object at 0x7f00> is odd\n", "a message holds ' at 0x7f00'"),
        (2, "ws3: \x1b[31m\n", r"a message holds '\x1b'"),
        (2, f"ws3: {'x' * 5000}\n", "a line of 5005 characters"),
        (0, "Warning: no picture shows the class cow\n", ""),
        (0, "a.py:3: UserWarning: odd\n", "a library's warning"),
    ],
)
def test_how_a_command_ended_is_judged(status: int, said: str, wrong: str) -> None:
    assert complaint(status, said).startswith(wrong)
    assert bool(complaint(status, said)) == bool(wrong)


def _plain(folder: Path) -> None:
    neighbour(folder)
    (folder / "results").mkdir()


@pytest.mark.parametrize(
    ("does", "wrong"),
    [
        ("open('results/a', 'w').close()", ""),
        ("sys.exit(0)", ""),
        ("open('neighbour/mine.txt', 'a').write('x')", "changed: "),
        ("os.unlink('neighbour/mine.json')", "changed: "),
        ("os.mkdir('neighbour/new')", "changed: "),
        ("subprocess.run(['gs', '-q'])", "started: "),
        ("os.system('true')", "started: "),
        ("pickle.loads(b'cos\\nsystem\\n.')", "started: pickle.find_class"),
        ("signal.alarm(1); time.sleep(60)", "ended by SIGALRM"),
        ("bytearray(3 * 2**30)", "a traceback"),
        ("os.kill(os.getpid(), 11)", "ended by SIGSEGV"),
        ("1 / 0", "a traceback"),
    ],
)
def test_the_harness_notices(tmp_path: Path, does: str, wrong: str) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom unittest import mock\n"
        "import ws3.cli\nfrom fuzz.harness import *\nfrom fuzz.test_fuzz import _plain\n"
        "def main():\n    import os, pickle, signal, subprocess, sys, time\n"
        f"    {does}\n"
        "border = Border('plain', _plain, lambda folder, rng: Input((), 'nothing'))\n"
        "with mock.patch('ws3.cli.main', main):\n"
        "    print(Fuzz(Path(sys.argv[1]), 0).try_one(border, 0, Counts()), end='')\n"
    )
    paths = os.pathsep.join((str(TESTS.parent), str(TESTS)))
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (f"nothing: {wrong}" in done.stdout) if wrong else (done.stdout == "")


def test_the_same_seed_makes_the_same_input(tmp_path: Path) -> None:
    def spoil(folder: Path, rng: Random) -> Input:
        return Input((), spoil_bytes(folder / "neighbour/mine.txt", rng))

    border = Border("plain", _plain, spoil)
    made = []
    for seed, name in ((0, "one"), (0, "two"), (1, "three")):
        folder, given = Fuzz(tmp_path / name, seed).make(border, 3)
        made.append((given.what, (folder / "neighbour/mine.txt").read_bytes()))
    assert made[0] == made[1]
    assert made[0] != made[2]
    assert Counts().all == 0


def test_every_kind_of_mutation_is_made(tmp_path: Path) -> None:
    rng, found = Random(0), set()
    for number in range(400):
        folder = tmp_path / str(number)
        neighbour(folder)
        path = folder / "a"
        path.write_text('{"a": [1, {"b": "text"}], "c": 2.5}')
        spoil = rng.choice((spoil_bytes, spoil_lines, spoil_json))
        spoil(path, rng)
        what = spoil_place(path, folder / "neighbour", rng)
        found.add(what.partition(" in place of ")[0])
        assert spoil_value({"a": [1, {"b": None}]}, rng)
    assert found == set(PLACES)
