"""A finished run, copied to where others read it."""

from __future__ import annotations

import shutil
import sys
from itertools import count
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import zarr
from verified_run import CROPS, ws3

from ws3.errors import Ws3Error
from ws3.run.contents import CRATE, MANIFEST, files_of
from ws3.tools import publish as module
from ws3.tools.publish import publish


@pytest.fixture(params=["memory", "folder"])
def url(request, tmp_path):
    """An object store in memory, which has no folders, and a folder."""
    if request.param == "folder":
        yield f"file://{tmp_path}/other/place"
        return
    system = fsspec.filesystem("memory")
    yield "memory://bucket/prefix"
    if system.exists("/bucket"):
        system.rm("/bucket", recursive=True)


def there(url):
    """Return the bytes of all files at an address, by their names below it."""
    system, root = fsspec.core.url_to_fs(url)
    return {path.removeprefix(f"{root}/"): system.cat(path) for path in system.find(root)}


def here(run):
    names = [*files_of(run), run.folder / CRATE, run.folder / MANIFEST]
    return {path.relative_to(run.folder).as_posix(): path.read_bytes() for path in names}


def test_all_is_copied_once_and_can_be_read_there(finished_run, url):
    status, said = ws3("publish", finished_run.folder, url)
    assert status == 0, said
    files = here(finished_run)
    assert there(url) == files
    assert f"{len(files)} files copied" in said
    assert (
        f"0 files copied (0.0 MB), {len(files)} there already"
        in ws3("publish", finished_run.folder, url)[1]
    )
    remote: Any = zarr.open_group(f"{url}/maps/{CROPS}.zarr", mode="r")
    local: Any = zarr.open_group(finished_run.folder / f"maps/{CROPS}.zarr", mode="r")
    image = finished_run.index.rows[0].image
    np.testing.assert_array_equal(remote[f"{image}/map"][...], local[f"{image}/map"][...])


def test_after_an_interruption_only_the_rest_is_copied(finished_run, url, monkeypatch):
    monkeypatch.setattr(module, "_TOGETHER", 7)
    copy, calls = module._Target.copy, count()

    def interrupted(self, folder, names):
        if next(calls) == 3:
            raise ConnectionError("the line is dead")
        copy(self, folder, names)

    monkeypatch.setattr(module._Target, "copy", interrupted)
    with pytest.raises(Ws3Error, match="can't be reached or written: the line is dead"):
        publish(finished_run, url)
    # Where the manifest is, all is.
    assert len(there(url)) == 21
    assert MANIFEST not in there(url)
    done = publish(finished_run, url)
    assert (done.kept, done.copied) == (21, len(here(finished_run)) - 21)
    assert there(url) == here(finished_run)


def test_nothing_that_is_there_is_lost(finished_run, url):
    publish(finished_run, url)
    system, root = fsspec.core.url_to_fs(url)
    mine = there(url)["evaluation/summary.csv"][::-1]
    system.pipe(f"{root}/evaluation/summary.csv", mine)  # of the same size
    system.pipe(f"{root}/notes.txt", b"mine")
    status, said = ws3("publish", finished_run.folder, url)
    assert (status, said.count("\n")) == (2, 1)
    assert "evaluation/summary.csv: another file is there already (1 in all)" in said
    assert there(url)["evaluation/summary.csv"] == mine
    status, said = ws3("publish", finished_run.folder, url, "--replace")
    assert (status, said.split(": ")[1].startswith("1 files copied")) == (0, True)
    assert there(url) == here(finished_run) | {"notes.txt": b"mine"}


def test_a_half_written_file_never_has_its_name(finished_run, tmp_path, monkeypatch):
    target = tmp_path / "place"

    def full(self, source, path, **more):
        """Write as to a disk that is full after some bytes."""
        self.pipe(path, Path(source).read_bytes()[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("fsspec.implementations.local.LocalFileSystem.put_file", full)
        with pytest.raises(Ws3Error, match="No space left"):
            publish(finished_run, str(target))
    left = [path for path in target.rglob("*") if path.is_file()]
    assert left
    assert all(path.name.startswith(".tmp-") for path in left)
    publish(finished_run, str(target))
    assert there(str(target)) == here(finished_run)


def test_a_damaged_run_is_not_copied(finished_run, url):
    chunk = max(finished_run.folder.glob(f"maps/{CROPS}.zarr/*/map/c/**/*"))
    chunk.write_bytes(chunk.read_bytes()[:-1])
    status, said = ws3("publish", finished_run.folder, url)
    assert (status, said.count("\n")) == (2, 1)
    assert "--repair" in said
    assert there(url) == {}


def test_the_runs_own_folder_is_no_target(finished_run):
    for target in (finished_run.folder, finished_run.folder / "copy"):
        status, said = ws3("publish", finished_run.folder, target)
        assert (status, "lies in the run's own folder" in said) == (2, True)
    assert not (finished_run.folder / "copy").exists()


def test_a_missing_package_is_named_with_its_extra(finished_run, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    status, said = ws3("publish", finished_run.folder, "s3://bucket/prefix")
    assert (status, said.count("\n")) == (2, 1)
    assert "pip install 'ws3-seg[cloud]'" in said
    status, said = ws3("publish", finished_run.folder, "nowhere://bucket")
    assert (status, "Protocol not known: nowhere" in said) == (2, True)


def test_a_copy_is_a_run(finished_run, tmp_path):
    publish(finished_run, str(tmp_path / "copy"))
    shutil.rmtree(finished_run.folder)
    status, said = ws3("verify", tmp_path / "copy")
    assert (status, " 0 damaged" in said) == (0, True)
