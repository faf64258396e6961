"""A segmentation network that nobody trained, in a run that takes it for its own."""

from __future__ import annotations

import torch
from made_records import segmentation_facts

from ws3.datasets.images import decode_rgb, read_bytes
from ws3.files import file_sha256
from ws3.pixels import to_unit
from ws3.run.folder import Run
from ws3.run.records import write_record
from ws3.segmentation.data import normalise
from ws3.segmentation.model import save_model
from ws3.segmentation.networks import build
from ws3.segmentation.prediction import PredictionSettings

NETWORK = "lraspp_mobilenet_v2"


def give_network(run: Run, recipe: str) -> None:
    """Put a network with random weights in the place of the one that a recipe trains."""
    torch.manual_seed(1)
    network = build(NETWORK, len(run.index.classes) + 1, None).eval()
    # Otherwise one class wins everywhere, and equal masks prove nothing.
    row = run.index.rows[-1]
    pixels = torch.from_numpy(normalise(to_unit(decode_rgb(read_bytes(row.path), row.path))))
    with torch.no_grad():
        logits = network(pixels[None])["out"]
        network.get_parameter("classifier.high_classifier.bias").sub_(logits.mean((0, 2, 3)))
    settings = PredictionSettings.of(run.config.segmentation)
    save_model(run.model_file(recipe), network, NETWORK, run.index.classes, settings)
    facts = segmentation_facts(file_sha256(run.model_file(recipe)), recipe=recipe)
    write_record(run.receipt("train_segmentation", recipe), facts)
