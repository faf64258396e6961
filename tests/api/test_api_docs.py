"""The library's page and its notebook, executed."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from PIL import Image
from predicted import give_network

from ws3.datasets.synthetic.scene import CLASSES
from ws3.jobs.runner import open_stage, run_images
from ws3.stages.threshold import threshold

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_page_runs_as_it_stands(small_run, tmp_path, monkeypatch):
    run = small_run(
        run="demo",
        recipes__cam__samples={"scales": [1.0], "flip": False},
        masks__background={"kind": "constant", "score": 0.3},
    )
    rows = run.index.rows[:1]
    for stage in ("saliency", "maps"):
        run_images(run, open_stage(run, stage, "cam"), rows)
    threshold(run, "cam")
    run_images(run, open_stage(run, "masks", "cam"), rows)
    give_network(run, "contrast_crops")
    run.summary_file.parent.mkdir()
    run.summary_file.write_text("recipe,split,stage,miou\ncam,val,maps,0.5\n")
    Image.open(rows[0].path).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    page = (REPOSITORY / "docs" / "library.md").read_text()
    assert {"stripeling", "dotterel"} <= set(CLASSES[:3])
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 8
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "library.md", "exec"), names)  # noqa: S102
    assert names["rows"] == [{"recipe": "cam", "split": "val", "stage": "maps", "miou": 0.5}]


def pictures(notebook):
    """Return how many pictures each cell shows, and check that each is one."""
    counts = []
    for cell in notebook.cells:
        shown = [
            data
            for output in cell.get("outputs", [])
            for kind, data in output.get("data", {}).items()
            if kind.startswith("image/")
        ]
        assert all(len(base64.b64decode(data)) > 1000 for data in shown)
        counts.append(len(shown))
    return counts


@pytest.mark.slow
def test_the_notebook_runs_and_shows_the_pictures_that_it_is_kept_with(tmp_path):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    path = REPOSITORY / "examples" / "quickstart.ipynb"
    assert path.stat().st_size < 500_000
    kept = nbformat.read(path, 4)
    assert sum(pictures(kept)) >= 5
    fresh = nbformat.read(path, 4)
    for cell in fresh.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(fresh, timeout=900, resources=resources).execute()
    assert pictures(fresh) == pictures(kept)
