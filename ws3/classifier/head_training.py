"""Training of a classifier's last layer alone, on features that are computed once and kept.

Where the backbone stays as it is, so do the features of a photograph: each goes through the network
once, whole and mirrored, instead of once per epoch. A killed training goes on behind the last whole
chunk of features; the epochs themselves take seconds, and begin again.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ws3.classifier import checkpoints
from ws3.classifier.model import Classifier, backbone_and_head_parameters
from ws3.classifier.training import (
    Metrics,
    Trained,
    finite_loss,
    mean_average_precision,
    usable,
    write_metrics,
)
from ws3.config.classifier import ClassifierConfig
from ws3.datasets.images import decode_rgb, read_bytes
from ws3.datasets.index import ImageRow
from ws3.errors import Ws3Error
from ws3.pixels import channels_first, normalise, resize_short_side, to_unit
from ws3.tensors import UnusableError, load_tensors, write_tensors
from ws3.training.processes import isolated_torch_state

FEATURES = "features"
"""The folder of the features, within that of the training."""

_CHUNK = 64  # images

log = logging.getLogger(__name__)


def train_head(
    rows: Sequence[ImageRow],
    val_rows: Sequence[ImageRow],
    classes: Sequence[str],
    config: ClassifierConfig,
    *,
    seed: int,
    folder: Path,
    device: torch.device,
) -> Trained:
    """Train the last, linear layer of a classifier: binary cross-entropy, AdamW, one cycle.

    The features are what that layer sees of a whole photograph with its short side at the input
    size, and of its mirror image; each epoch takes one of the two of each photograph. They are kept
    in the folder, and are computed again for other photographs, weights or sizes, but not for
    another learning rate or number of epochs.

    Args:
        rows: Training images; those with a problem are left out.
        val_rows: Validation images, possibly none.
        classes: Class names, in the order of the logits.
        config: Architecture, starting weights and the training's numbers; `backbone_rate` and
            `crop_area` have no meaning here.
        seed: Of the new head, and the order of images and mirror images.
        folder: Gets `features/` and `metrics.csv`.
        device: Where the features are computed.

    Raises:
        Ws3Error: If there is nothing to train on, weights don't fit, an image can't be decoded, the
            network doesn't end in a linear layer, or the loss becomes NaN or infinite.
    """
    rows, val_rows = usable(rows, val_rows)
    with isolated_torch_state(seed, device):
        start = checkpoints.new_classifier(
            config.architecture, classes, config.input_size, config.weights, config.output_stride
        )
        last = _last_layer(start)
        network = start.network.to(device).eval()
        made_by = _backbone_digest(start)
        data, val_data = (
            _features(some, start, last, made_by, folder / FEATURES, device, classes)
            for some in (rows, val_rows)
        )
        network.cpu()
        epochs = _fit(last, data, val_data, config, seed)
    write_metrics(folder / "metrics.csv", epochs)
    return Trained(start, epochs[-1], tuple(epochs))


Data = tuple[Tensor, Tensor]
"""Features (images, 2, F), whole and mirrored, and labels (images, classes), float32."""


def _last_layer(classifier: Classifier) -> nn.Linear:
    parameters = {id(one) for one in backbone_and_head_parameters(classifier)[1]}
    for module in classifier.head.modules():
        own = {id(one) for one in module.parameters(recurse=False)}
        if isinstance(module, nn.Linear) and own and own <= parameters:
            return module
    raise Ws3Error(
        f"classifier.train: head needs a network that ends in a linear layer, and "
        f"{classifier.name} ends otherwise; use train: all with backbone_rate: 0"
    )


def _backbone_digest(classifier: Classifier) -> str:
    """Return a digest of what the features follow from, beside the photographs."""
    digest = hashlib.sha256()
    last = {id(one) for one in backbone_and_head_parameters(classifier)[1]}
    tensors = [*classifier.network.named_parameters(), *classifier.network.named_buffers()]
    for name, value in tensors:
        if id(value) not in last:
            digest.update(name.encode())
            digest.update(value.detach().cpu().numpy().tobytes())
    settings = [classifier.input_size, classifier.output_stride, classifier.mean, classifier.std]
    digest.update(json.dumps([classifier.name, *settings]).encode())
    return digest.hexdigest()


def _features(
    rows: Sequence[ImageRow],
    classifier: Classifier,
    last: nn.Linear,
    made_by: str,
    folder: Path,
    device: torch.device,
    classes: Sequence[str],
) -> Data:
    """Return the features of images, those of whole chunks from their files, and the labels."""
    parts = list[Tensor]()
    for chunk in _chunks(rows):
        digest = hashlib.sha256(made_by.encode())
        for row in chunk:
            digest.update(json.dumps([row.image, row.sha256 or row.stat_key]).encode())
        path = folder / f"{digest.hexdigest()[:32]}.pt"
        found = _kept(path, (len(chunk), 2, last.in_features))
        if found is None:
            found = torch.stack([_of_image(row, classifier, last, device) for row in chunk])
            write_tensors(path, {"features": found})
            log.info("features of %d images", len(chunk))
        parts.append(found)
    labels = [[float(name in row.labels) for name in classes] for row in rows]
    empty = torch.empty(0, 2, last.in_features)
    return torch.cat([empty, *parts]), torch.tensor(labels).view(len(rows), len(classes))


def _chunks(rows: Sequence[ImageRow]) -> Iterator[Sequence[ImageRow]]:
    for begin in range(0, len(rows), _CHUNK):
        yield rows[begin : begin + _CHUNK]


def _kept(path: Path, shape: tuple[int, ...]) -> Tensor | None:
    """Return the features in a file; None where it is missing or damaged."""
    if not path.exists():
        return None
    try:
        found = load_tensors(path).get("features")
    except UnusableError:
        return None
    if not isinstance(found, Tensor) or found.shape != shape or found.dtype != torch.float32:
        return None
    return found if bool(torch.isfinite(found).all()) else None


@torch.no_grad()
def _of_image(
    row: ImageRow, classifier: Classifier, last: nn.Linear, device: torch.device
) -> Tensor:
    """Return what the last layer sees of an image and its mirror image (2, F), on the CPU."""
    image = decode_rgb(read_bytes(row.path), row.path, row.coding)
    pixels = to_unit(resize_short_side(image, classifier.input_size))
    whole = torch.from_numpy(channels_first(normalise(pixels, classifier.mean, classifier.std)))
    seen = list[Tensor]()
    with last.register_forward_pre_hook(lambda _, given: seen.append(given[0])):
        classifier.network(torch.stack([whole, whole.flip(2)]).to(device))
    if len(seen) != 1 or seen[0].shape != (2, last.in_features):
        raise Ws3Error(
            f"classifier.train: head: {classifier.name} doesn't call its last layer once per "
            "image; use train: all with backbone_rate: 0"
        )
    return seen[0].float().cpu()


def _fit(
    last: nn.Linear, data: Data, val_data: Data, config: ClassifierConfig, seed: int
) -> list[Metrics]:
    """Train the layer in place, on the CPU; return the figures of each epoch."""
    features, labels = data
    layer = copy.deepcopy(last).train().requires_grad_(True)
    optimizer = torch.optim.AdamW(
        layer.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    steps = -(-len(features) // config.batch_size) * config.epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, steps, cycle_momentum=False
    )
    epochs = list[Metrics]()
    for epoch in range(config.epochs):
        generator = np.random.default_rng([seed, epoch])
        order = torch.from_numpy(generator.permutation(len(features)))
        mirrored = torch.from_numpy(generator.integers(2, size=len(features)))
        losses = list[float]()
        for batch in torch.split(order, config.batch_size):
            logits = layer(features[batch, mirrored[batch]])
            loss = finite_loss(logits, labels[batch], config, epoch)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        epochs.append(_figures(float(np.mean(losses)), layer, val_data))
        log.info("epoch %d of %d: %s", epoch + 1, config.epochs, epochs[-1])
    last.load_state_dict(layer.state_dict())
    return epochs


@torch.no_grad()
def _figures(train_loss: float, layer: nn.Linear, val_data: Data) -> Metrics:
    features, labels = val_data
    if not len(features):
        return {"train_loss": train_loss, "val_loss": None, "val_map": None}
    logits = layer(features[:, 0])
    loss = nn.functional.binary_cross_entropy_with_logits(logits, labels)
    mean_ap = mean_average_precision(logits, labels)
    return {"train_loss": train_loss, "val_loss": float(loss), "val_map": mean_ap}
