"""index -> classifier.pt."""

from __future__ import annotations

import logging
import sys

import torch

from ws3.classifier.checkpoints import load_external, save_classifier
from ws3.classifier.evaluation import average_precision
from ws3.classifier.model import Classifier
from ws3.classifier.training import train
from ws3.files import file_sha256
from ws3.jobs.lease import Lease
from ws3.removal import remove_leftovers
from ws3.run.folder import Run
from ws3.run.records import ClassifierFacts, ClassifierMetrics, write_record
from ws3.run.training_inputs import classifier_fingerprint
from ws3.stages.training_common import processes_on, trained_already
from ws3.torch_setup import device

_log = logging.getLogger(__name__)


def train_classifier(run: Run) -> None:
    """Train the classifier, or take the user's own, and measure it on the val split.

    A classifier that was trained on the same images in the same way is kept; an interrupted
    training goes on from its last epoch.

    Raises:
        Ws3Error: If a checkpoint doesn't fit, an image can't be read, or training diverges.
    """
    # After a kill, a restarted Snakemake may submit this training while the old job still runs.
    with Lease(run.receipt("train_classifier").with_suffix(".lease")):
        remove_leftovers([run.classifier_file])
        _train_unless_done(run)


def _train_unless_done(run: Run) -> None:
    config, path = run.config.classifier, run.classifier_file
    made_from, receipt = classifier_fingerprint(run), run.receipt("train_classifier")
    if trained_already(path, made_from, receipt, ClassifierFacts, "images"):
        return
    torch.set_num_threads(run.config.threads)
    place = device(run.config.device)
    epochs = None
    if config.checkpoint is not None:
        classifier = load_external(
            config.checkpoint, config.architecture, run.index.classes, config.input_size
        )
    else:
        trained = train(
            run.rows(["train"]),
            run.rows(["val"]),
            run.index.classes,
            config,
            seed=run.config.seed,
            folder=run.folder / "classifier",
            device=place,
            progress=sys.stderr.isatty(),
            processes=processes_on(place, config.batch_size),
        )
        classifier, epochs = trained.classifier, len(trained.epochs)
    save_classifier(path, classifier)
    facts = ClassifierFacts(
        architecture=classifier.architecture,
        classes=tuple(classifier.classes),
        input_size=classifier.input_size,
        epochs=epochs,
        fingerprint=made_from,
        sha256=file_sha256(path),
        metrics=_metrics(run, classifier, place),
    )
    write_record(path.with_suffix(".json"), facts)
    write_record(receipt, facts)


def _metrics(run: Run, classifier: Classifier, place: torch.device) -> ClassifierMetrics:
    split = "val" if run.rows(["val"]) else "train"
    measured = average_precision(classifier, run.rows([split]), place)
    _log.info("mAP on %s: %s", split, measured.mean)
    return ClassifierMetrics(split=split, mean_ap=measured.mean, per_class_ap=measured.per_class)
