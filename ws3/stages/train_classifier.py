"""index -> classifier.pt."""

from __future__ import annotations

import logging
import sys
from functools import partial

import torch

from ws3.classifier.checkpoints import load_external, save_classifier
from ws3.classifier.evaluation import average_precision
from ws3.classifier.head_training import train_head
from ws3.classifier.model import Classifier
from ws3.classifier.of_texts import classifier_of_texts
from ws3.classifier.training import train
from ws3.files import file_sha256
from ws3.run.folder import Run
from ws3.run.records import ClassifierFacts, ClassifierMetrics
from ws3.run.training_inputs import classifier_fingerprint
from ws3.stages.training_common import processes_on, train_once

_log = logging.getLogger(__name__)


def train_classifier(run: Run) -> None:
    """Train the classifier, take the user's own or make one of texts, and measure it on val.

    A classifier that was trained on the same images in the same way is kept; an interrupted
    training goes on from its last epoch.

    Raises:
        Ws3Error: If a checkpoint doesn't fit, an image can't be read, or training diverges.
    """
    receipt = run.receipt("train_classifier")
    made_from, make = partial(classifier_fingerprint, run), partial(_train, run)
    train_once(run, receipt, run.classifier_file, ClassifierFacts, "images", made_from, make)


def _train(run: Run, fingerprint: str, place: torch.device) -> ClassifierFacts:
    config, epochs = run.config.classifier, None
    if config.checkpoint is not None:
        classifier = load_external(
            config.checkpoint,
            config.architecture,
            run.index.classes,
            config.input_size,
            config.output_stride,
        )
    elif config.train == "text":
        classifier, epochs = classifier_of_texts(config, run.index.classes), 0
    else:
        fit = (
            train_head
            if config.train == "head"
            else partial(
                train,
                progress=sys.stderr.isatty(),
                processes=processes_on(place, config.batch_size),
            )
        )
        trained = fit(
            run.rows(["train"]),
            run.rows(["val"]),
            run.index.classes,
            config,
            seed=run.config.seed,
            folder=run.folder / "classifier",
            device=place,
        )
        classifier, epochs = trained.classifier, len(trained.epochs)
    save_classifier(run.classifier_file, classifier)
    return ClassifierFacts(
        architecture=classifier.architecture,
        classes=tuple(classifier.classes),
        input_size=classifier.input_size,
        output_stride=classifier.output_stride,
        epochs=epochs,
        fingerprint=fingerprint,
        sha256=file_sha256(run.classifier_file),
        metrics=_metrics(run, classifier, place),
        texts=classifier.texts,
    )


def _metrics(run: Run, classifier: Classifier, place: torch.device) -> ClassifierMetrics:
    split = "val" if run.rows(["val"]) else "train"
    measured = average_precision(classifier, run.rows([split]), place)
    _log.info("mAP on %s: %s", split, measured.mean)
    return ClassifierMetrics(split=split, mean_ap=measured.mean, per_class_ap=measured.per_class)
