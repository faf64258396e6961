"""Training of the multi-label classifier, with Lightning.

A killed training resumes at its last whole epoch, and ends in the same bits on a CPU: the order of
the images and every augmentation are functions of seed, epoch and image alone.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchmetrics.functional.classification import binary_average_precision
from torchvision.transforms import v2

from ws3.classifier import checkpoints
from ws3.classifier.model import Classifier, backbone_and_head_parameters
from ws3.config.classifier import ClassifierConfig
from ws3.datasets.images import decode_rgb, read_bytes
from ws3.datasets.index import ImageRow
from ws3.errors import Ws3Error
from ws3.files import write_csv
from ws3.pixels import MOST_ASPECT, resize_short_side
from ws3.training.batches import SharedBatches, loader_workers
from ws3.training.checkpoint import CHECKPOINT, read_checkpoint, resumable
from ws3.training.processes import (
    fit,
    isolated_torch_state,
    keep_statistics,
    make_trainer,
    mean_over_processes,
)

_CACHE_BYTES = 2**30
_MARGIN = 1.15  # images are kept a little larger than the input, so that crops stay sharp

log = logging.getLogger(__name__)
Metrics = dict[str, float | None]


@dataclass(frozen=True)
class Trained:
    """What a training leaves.

    Attributes:
        classifier: The network after the last epoch, on the CPU.
        metrics: `train_loss`, `val_loss` and `val_map` (mean average precision over the classes
            that the validation images have, from 0 to 1) of the last epoch; None without
            validation images.
        epochs: The same for every epoch.
    """

    classifier: Classifier
    metrics: Metrics
    epochs: tuple[Metrics, ...]


def usable(
    rows: Sequence[ImageRow], val_rows: Sequence[ImageRow]
) -> tuple[list[ImageRow], list[ImageRow]]:
    """Return the images without a problem, of training and of validation.

    Raises:
        Ws3Error: If there is none to train on.
    """
    good, val_good = ([row for row in some if not row.problem] for some in (rows, val_rows))
    if not good:
        raise Ws3Error("the dataset has no usable training image; check dataset.train and labels")
    return good, val_good


def finite_loss(logits: Tensor, labels: Tensor, config: ClassifierConfig, epoch: int) -> Tensor:
    """Return the binary cross-entropy of a batch, its labels smoothed.

    Args:
        logits: float (B, classes).
        labels: 0 or 1, the same shape.
        config: The training's numbers.
        epoch: From 0, for the message.

    Raises:
        Ws3Error: If it is NaN or infinite.
    """
    smooth = config.label_smoothing
    targets = labels * (1 - 2 * smooth) + smooth
    loss = nn.functional.binary_cross_entropy_with_logits(logits, targets)
    if not torch.isfinite(loss):
        raise Ws3Error(
            f"the classifier's loss became {loss.item()} in epoch {epoch + 1}; lower "
            "classifier.learning_rate, or check the starting weights"
        )
    return loss


def train(
    rows: Sequence[ImageRow],
    val_rows: Sequence[ImageRow],
    classes: Sequence[str],
    config: ClassifierConfig,
    *,
    seed: int,
    folder: Path,
    device: torch.device,
    progress: bool = False,
    workers: int | None = None,
    processes: int = 1,
) -> Trained:
    """Train a multi-label classifier: binary cross-entropy, AdamW, one learning-rate cycle.

    From pretrained weights, batch norms keep their statistics; from random weights, they learn
    them. A backbone whose share of the learning rate is 0 stays as it is, in evaluation mode.
    Training crops are random in area, squashed to the input's square, mirrored and lightly
    recoloured; validation images are whole, with their own aspect, their short side the input's
    size. On a GPU the arithmetic of training is bf16 (autocast).

    Args:
        rows: Training images; those with a problem are left out.
        val_rows: Validation images, possibly none.
        classes: Class names, in the order of the logits.
        config: Architecture, starting weights and the training's numbers.
        seed: Of the new head, the order of images and the augmentation.
        folder: Gets `last.ckpt`, from which the same training resumes, and `metrics.csv`.
        device: Where to train.
        progress: Whether to draw a progress bar.
        workers: Processes that decode and augment, for each that trains; None chooses. The result
            doesn't depend on it.
        processes: How many train together, each on a GPU of its own (or all on the CPU); must
            divide the batch size. They share every batch, so their number changes the outcome by
            no more than rounding and dropout; only on the CPU are batch statistics, where they
            are learned, those of a process's share.

    Raises:
        Ws3Error: If there is nothing to train on, weights don't fit, an image can't be decoded, a
            batch has one image that is too small for batch normalisation, or the loss becomes NaN
            or infinite.
    """
    rows, val_rows = usable(rows, val_rows)
    folder.mkdir(parents=True, exist_ok=True)
    on_gpu = device.type != "cpu"
    if workers is None:
        workers = loader_workers(on_gpu, processes)
    last = folder / CHECKPOINT
    with isolated_torch_state(seed, device):
        start = checkpoints.new_classifier(
            config.architecture,
            classes,
            config.input_size,
            config.weights,
            config.output_stride,
        )
        order = _Order(len(rows), config.batch_size, seed, processes)
        _check_lone_images(start, config, order)
        identity = _identity(rows, val_rows, classes, config, seed)
        module = _Module(start, config, seed, order, folder, identity)
        trainer = make_trainer(
            device,
            processes,
            folder,
            progress=progress,
            callbacks=[
                ModelCheckpoint(
                    folder,
                    filename="last",
                    save_on_train_epoch_end=True,
                    enable_version_counter=False,
                )
            ],
            max_epochs=config.epochs,
            precision="bf16-mixed" if on_gpu else "32-true",
            deterministic="warn" if on_gpu else True,
        )
        data = _Data(rows, val_rows, classes, config, order, workers, on_gpu)
        fit(trainer, module, data, last if _resumable(last, identity) else None)
    if processes > 1:
        # ddp_spawn copies back the weights only; the epochs' metrics come from the checkpoint.
        module.on_load_checkpoint(read_checkpoint(last))
    module.network.cpu().eval()
    return Trained(start, module.epochs[-1], tuple(module.epochs))


def _check_lone_images(start: Classifier, config: ClassifierConfig, order: SharedBatches) -> None:
    """Refuse a batch of one image that batch normalisation can't learn from.

    Where an image leaves a single value per channel, there is no deviation to divide by.

    Raises:
        Ws3Error: If some batch has one image only and the network's maps shrink to one value.
    """
    remainder = order.length % order.batch_size
    fewest = remainder or min(order.length, order.batch_size)
    learns = config.weights is None and config.backbone_rate > 0
    if not learns or fewest // order.processes > 1:
        return
    network = copy.deepcopy(start.network).train()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            network(torch.zeros(1, 3, config.input_size, config.input_size))
    except ValueError as error:
        raise Ws3Error(
            f"classifier.batch_size: {order.length} images in batches of {order.batch_size} leave "
            f"one image alone, and at classifier.input_size {config.input_size} batch "
            "normalisation can't learn from one; choose another batch_size, or an input_size of "
            "64 or more"
        ) from error


class _Order(SharedBatches):
    """Each epoch's permutation of the images, and a seed for each image's augmentation."""

    def __init__(self, images: int, batch_size: int, seed: int, processes: int) -> None:
        super().__init__(images, batch_size, processes)
        self.seed = seed

    def draw(self, epoch: int) -> list[tuple[int, int]]:
        generator = np.random.default_rng([self.seed, epoch])
        seeds = generator.integers(2**62, size=self.length)
        return [(int(index), int(seeds[index])) for index in generator.permutation(self.length)]


class _Photographs(Dataset[tuple[Tensor, Tensor]]):
    """Photographs, resized and decoded once if they fit in memory, and their labels."""

    def __init__(
        self,
        rows: Sequence[ImageRow],
        classes: Sequence[str],
        short_side: int,
        augmentation: v2.Transform | None,
        processes: int = 1,
    ) -> None:
        self.files = [(row.path, row.coding) for row in rows]
        self.short_side = short_side
        self.augmentation = augmentation
        self.labels = torch.tensor(
            [[float(name in row.labels) for name in classes] for row in rows]
        )
        self.cache: list[npt.NDArray[np.uint8]] = []
        pixels = sum(
            short_side**2
            * min(MOST_ASPECT, max(row.width, row.height) / max(1, min(row.width, row.height)))
            for row in rows
        )
        # Several processes have no more memory than one.
        if 3 * pixels <= _CACHE_BYTES // processes:
            with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
                self.cache = list(pool.map(self._read, self.files))

    def _read(self, file: tuple[str, str]) -> npt.NDArray[np.uint8]:
        path, coding = file
        image = decode_rgb(read_bytes(path), path, coding)
        return resize_short_side(image, self.short_side)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, item: int | tuple[int, int]) -> tuple[Tensor, Tensor]:
        index, seed = item if isinstance(item, tuple) else (item, 0)
        image = self.cache[index] if self.cache else self._read(self.files[index])
        pixels = torch.from_numpy(image).permute(2, 0, 1)
        if self.augmentation is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                pixels = self.augmentation(pixels)
        return pixels, self.labels[index]


def _augmentation(size: int, config: ClassifierConfig) -> v2.Transform:
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=config.crop_area, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2),
        ]
    )


class _Data(pl.LightningDataModule):
    """The images of a process, read only there: they are too many to be handed over."""

    def __init__(
        self,
        rows: Sequence[ImageRow],
        val_rows: Sequence[ImageRow],
        classes: Sequence[str],
        config: ClassifierConfig,
        order: _Order,
        workers: int,
        on_gpu: bool,
    ) -> None:
        super().__init__()
        self.on_gpu = on_gpu
        self.rows = rows
        self.val_rows = val_rows
        self.classes = classes
        self.config = config
        self.order = order
        self.workers = workers

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Return this process's share of every batch."""
        size = self.config.input_size
        augmentation = _augmentation(size, self.config)
        images = self._photographs(self.rows, round(_MARGIN * size), augmentation)
        return DataLoader(
            images,
            self.order.share,
            sampler=self.order,
            num_workers=self.workers,
            # Pages that the GPU copies from while it computes.
            pin_memory=self.on_gpu,
            persistent_workers=self.workers > 0,
        )

    def val_dataloader(self) -> Any:
        """Return all validation images: each process sees them all, and has the same figures."""
        if not self.val_rows:
            return []
        images = self._photographs(self.val_rows, self.config.input_size, None)
        return DataLoader(images, 1, num_workers=self.workers, pin_memory=self.on_gpu)

    def _photographs(
        self, rows: Sequence[ImageRow], short_side: int, augmentation: v2.Transform | None
    ) -> _Photographs:
        return _Photographs(rows, self.classes, short_side, augmentation, self.order.processes)


class _Module(pl.LightningModule):
    """The network, its loss, optimiser and figures."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        start: Classifier,
        config: ClassifierConfig,
        seed: int,
        order: _Order,
        folder: Path,
        identity: str,
    ) -> None:
        super().__init__()
        self.start = start
        self.network = start.network.to(memory_format=torch.channels_last)
        self.config = config
        self.seed = seed
        self.order = order
        self.folder = folder
        self.identity = identity
        self.epochs: list[Metrics] = []
        self.losses: list[Tensor] = []
        self.validated: list[tuple[Tensor, Tensor]] = []
        self.register_buffer("mean", torch.tensor(start.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(start.std).view(1, 3, 1, 1), persistent=False)
        if config.backbone_rate == 0:
            for parameter in backbone_and_head_parameters(self.start)[0]:
                parameter.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, classes) of uint8 RGB (B, 3, H, W)."""
        inputs = (images / 255 - self.mean) / self.std
        logits: Tensor = self.network(inputs.contiguous(memory_format=torch.channels_last))
        return logits

    def configure_optimizers(self) -> Any:
        """Return AdamW and its learning rate's cycle."""
        config = self.config
        backbone, head = backbone_and_head_parameters(self.start)
        groups: list[dict[str, Any]] = [{"params": head, "lr": config.learning_rate}]
        if config.backbone_rate > 0:
            rate = config.learning_rate * config.backbone_rate
            groups.append({"params": backbone, "lr": rate})
        optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
        steps = -(-self.order.length // config.batch_size) * config.epochs
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, [group["lr"] for group in groups], steps, cycle_momentum=False
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_train_epoch_start(self) -> None:
        """Keep still what isn't to learn."""
        if self.config.backbone_rate == 0:
            self.network.eval()
        elif self.config.weights is not None:
            keep_statistics(self.network)

    def on_train_batch_start(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Seed dropout by the step, so that a resumed training draws the same."""
        torch.manual_seed(self.seed * 1_000_003 + self.global_step + 50_021 * self.global_rank)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """Return the loss of a batch, or of this process's share of it, weighted."""
        images, labels = batch
        loss = finite_loss(self(images), labels, self.config, self.current_epoch)
        loss = loss * self.order.weight(index)
        self.losses.append(loss.detach())
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Keep the logits and labels of a batch."""
        self.validated.append((self(batch[0]).float().cpu(), batch[1].cpu()))

    def on_train_epoch_end(self) -> None:
        """Sum the epoch up, after its validation and before its checkpoint."""
        metrics: Metrics = {
            "train_loss": float(mean_over_processes(torch.stack(self.losses).mean())),
            "val_loss": None,
            "val_map": None,
        }
        if self.validated:
            logits, labels = (torch.cat(parts) for parts in zip(*self.validated, strict=True))
            loss = nn.functional.binary_cross_entropy_with_logits(logits, labels)
            metrics["val_loss"] = float(loss)
            metrics["val_map"] = mean_average_precision(logits, labels)
        self.losses.clear()
        self.validated.clear()
        self.epochs.append(metrics)
        if self.trainer.is_global_zero:
            write_metrics(self.folder / "metrics.csv", self.epochs)
        log.info("epoch %d of %d: %s", len(self.epochs), self.config.epochs, metrics)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a resumed training needs."""
        checkpoint["ws3"] = {"identity": self.identity, "epochs": self.epochs}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the epochs done."""
        self.epochs = list(checkpoint["ws3"]["epochs"])


def mean_average_precision(logits: Tensor, labels: Tensor) -> float | None:
    """Return the mean over classes of the average precision, from 0 to 1.

    Args:
        logits: (images, classes).
        labels: 0 or 1, (images, classes).

    Returns:
        The mean over those classes that at least one image has; None if there is none.
    """
    present = labels.sum(dim=0) > 0
    values = [
        float(binary_average_precision(logits[:, index].sigmoid(), labels[:, index].int()))
        for index in present.nonzero().flatten().tolist()
    ]
    return float(np.mean(values)) if values else None


def write_metrics(path: Path, epochs: Sequence[Metrics]) -> None:
    """Write one line per epoch: `epoch,train_loss,val_loss,val_map`; undefined ones are empty."""
    lines = [{"epoch": number, **metrics} for number, metrics in enumerate(epochs, start=1)]
    write_csv(path, list(lines[0]), lines)


def _identity(
    rows: Sequence[ImageRow],
    val_rows: Sequence[ImageRow],
    classes: Sequence[str],
    config: ClassifierConfig,
    seed: int,
) -> str:
    """Return a digest of everything that the trained weights follow from."""
    images = [[row.image, row.labels, row.sha256 or row.stat_key] for row in (*rows, *val_rows)]
    weights = (
        checkpoints.sha256(config.weights)
        if config.weights not in (None, "imagenet")
        else config.weights
    )
    content = [images, len(rows), list(classes), config.model_dump(), weights, seed]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _resumable(path: Path, identity: str) -> bool:
    """Whether a whole checkpoint of this very training is there; a damaged one is replaced."""
    try:
        return resumable(path, identity)
    except Ws3Error:
        return False
