"""All borders."""

from __future__ import annotations

from fuzz import annotated, checkpoints, configurations, datasets, imported, runs
from fuzz.harness import Border
from fuzz.worlds import coco, finished_run, imports, photographs, voc

BORDERS = (
    Border("tables", photographs, datasets.tables, share=3),
    Border("ids", photographs, datasets.ids, share=1),
    Border("pictures", photographs, datasets.pictures, share=5),
    Border("configuration", photographs, configurations.configuration, share=4),
    Border(
        "snakemake-config",
        photographs,
        configurations.snakemake_configuration,
        share=1,
        writes=("results", ".snakemake", "neighbour/.cache"),
    ),
    Border("run-configuration", finished_run, configurations.run_configuration, share=3),
    Border("coco", coco, annotated.coco_files, share=4, writes=("results", "data/masks")),
    Border("voc", voc, annotated.voc_files, share=2),
    Border("imports", imports, imported.imported_files, share=4),
    Border("checkpoints", finished_run, checkpoints.checkpoints, share=3),
    Border("records", finished_run, runs.records, share=5),
    Border("stores", finished_run, runs.stores, share=4),
    Border("places", finished_run, runs.places, share=4),
    Border("arguments", finished_run, configurations.arguments, share=1),
)
"""All borders; `places` reaches every file and folder of a dataset and of a run."""
