"""Training of the multi-label classifier, with Lightning.

A killed training resumes at its last whole epoch, and ends in the same bits on a CPU: the order of
the images and every augmentation are functions of seed, epoch and image alone.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import lightning.pytorch as pl
import numpy as np
import numpy.typing as npt
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler
from torchmetrics.functional.classification import binary_average_precision
from torchvision.transforms import v2

from ws3.classifier import checkpoints, networks
from ws3.classifier.checkpoints import Classifier
from ws3.config import run
from ws3.datasets.images import decode_rgb, read_bytes
from ws3.datasets.index import ImageRow
from ws3.errors import Ws3Error
from ws3.files import write_bytes

_CACHE_BYTES = 2**30
_MARGIN = 1.15  # images are kept a little larger than the input, so that crops stay sharp
_ADVICE = ("does not have many workers", "no `val_dataloader`", "LeafSpec", "srun", "not empty")
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

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


def train(
    rows: Sequence[ImageRow],
    val_rows: Sequence[ImageRow],
    classes: Sequence[str],
    config: run.Classifier,
    *,
    seed: int,
    folder: Path,
    device: torch.device,
    progress: bool = False,
    workers: int | None = None,
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
        workers: Processes that decode and augment; None chooses. The result doesn't depend on it.

    Raises:
        Ws3Error: If there is nothing to train on, weights don't fit, an image can't be decoded,
            or the loss becomes NaN or infinite.
    """
    rows = [row for row in rows if not row.problem]
    val_rows = [row for row in val_rows if not row.problem]
    if not rows:
        raise Ws3Error("the dataset has no usable training image; check dataset.train and labels")
    folder.mkdir(parents=True, exist_ok=True)
    if workers is None:
        workers = 0 if device.type == "cpu" else min(8, os.cpu_count() or 1)
    size = config.input_size
    last = folder / "last.ckpt"
    with _quiet_and_as_before():
        pl.seed_everything(seed, verbose=False)
        start = checkpoints.start(config.architecture, classes, size, config.weights)
        training = _Photographs(rows, classes, round(_MARGIN * size), _augmentation(size, config))
        validation = _Photographs(val_rows, classes, size, None)
        steps = -(-len(rows) // config.batch_size) * config.epochs
        identity = _identity(rows, val_rows, classes, config, seed)
        module = _Module(start, config, seed, steps, folder, identity)
        trainer = pl.Trainer(
            accelerator="cpu" if device.type == "cpu" else "gpu",
            devices=1,
            max_epochs=config.epochs,
            precision="32-true" if device.type == "cpu" else "bf16-mixed",
            deterministic=True if device.type == "cpu" else "warn",
            callbacks=[
                ModelCheckpoint(
                    folder,
                    filename="last",
                    save_on_train_epoch_end=True,
                    enable_version_counter=False,
                )
            ],
            default_root_dir=folder,
            plugins=[LightningEnvironment()],  # also inside a Slurm job: it is one process
            logger=False,
            enable_progress_bar=progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(
            module,
            DataLoader(
                training, config.batch_size, sampler=_Order(len(rows), seed), num_workers=workers
            ),
            DataLoader(validation, 1, num_workers=workers) if val_rows else None,
            ckpt_path=last if _resumable(last, identity) else None,
            weights_only=True,
        )
    module.network.cpu().eval()
    return Trained(start, module.epochs[-1], tuple(module.epochs))


@contextmanager
def _quiet_and_as_before() -> Iterator[None]:
    """Silence Lightning's advice, and undo its switch of torch's determinism afterwards."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    settings: Any = torch.utils.deterministic  # its parts are unknown to type checkers
    fill = settings.fill_uninitialized_memory
    # Every new tensor would be filled with NaN first, which costs a third of a step.
    settings.fill_uninitialized_memory = False
    chatter = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in chatter]
    for logger in chatter:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in _ADVICE:
                warnings.filterwarnings("ignore", message=f".*{message}")
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        settings.fill_uninitialized_memory = fill
        for logger, level in zip(chatter, levels, strict=True):
            logger.setLevel(level)


class _Order(Sampler[tuple[int, int]]):
    """Each epoch's permutation of the images, and a seed for each image's augmentation."""

    def __init__(self, images: int, seed: int) -> None:
        self.images = images
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch, also when it resumes."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.images

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = np.random.default_rng([self.seed, self.epoch])
        seeds = generator.integers(2**62, size=self.images)
        for index in generator.permutation(self.images):
            yield int(index), int(seeds[index])


class _Photographs(Dataset[tuple[Tensor, Tensor]]):
    """Photographs, resized and decoded once if they fit in memory, and their labels."""

    def __init__(
        self,
        rows: Sequence[ImageRow],
        classes: Sequence[str],
        short_side: int,
        augmentation: v2.Transform | None,
    ) -> None:
        self.paths = [row.path for row in rows]
        self.short_side = short_side
        self.augmentation = augmentation
        self.labels = torch.tensor(
            [[float(name in row.labels) for name in classes] for row in rows]
        )
        self.cache: list[npt.NDArray[np.uint8]] = []
        pixels = sum(
            short_side**2 * max(row.width, row.height) / max(1, min(row.width, row.height))
            for row in rows
        )
        if 3 * pixels <= _CACHE_BYTES:
            with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
                self.cache = list(pool.map(self._read, self.paths))

    def _read(self, path: str) -> npt.NDArray[np.uint8]:
        image = decode_rgb(read_bytes(path), path)
        height, width = image.shape[:2]
        scale = self.short_side / min(height, width)
        target = (max(1, round(width * scale)), max(1, round(height * scale)))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(image, target, interpolation=method), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, item: int | tuple[int, int]) -> tuple[Tensor, Tensor]:
        index, seed = item if isinstance(item, tuple) else (item, 0)
        image = self.cache[index] if self.cache else self._read(self.paths[index])
        pixels = torch.from_numpy(image).permute(2, 0, 1)
        if self.augmentation is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                pixels = self.augmentation(pixels)
        return pixels, self.labels[index]


def _augmentation(size: int, config: run.Classifier) -> v2.Transform:
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=config.crop_area, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2),
        ]
    )


class _Module(pl.LightningModule):
    """The network, its loss, optimiser and figures."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        start: Classifier,
        config: run.Classifier,
        seed: int,
        steps: int,
        folder: Path,
        identity: str,
    ) -> None:
        super().__init__()
        self.network = start.network.to(memory_format=torch.channels_last)
        self.config = config
        self.seed = seed
        self.steps = steps
        self.folder = folder
        self.identity = identity
        self.epochs: list[Metrics] = []
        self.losses: list[Tensor] = []
        self.validated: list[tuple[Tensor, Tensor]] = []
        self.register_buffer("mean", torch.tensor(start.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(start.std).view(1, 3, 1, 1), persistent=False)
        if config.backbone_rate == 0:
            for parameter in networks.backbone_and_head_parameters(self.network)[0]:
                parameter.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, classes) of uint8 RGB (B, 3, H, W)."""
        inputs = (images / 255 - self.mean) / self.std
        logits: Tensor = self.network(inputs.contiguous(memory_format=torch.channels_last))
        return logits

    def configure_optimizers(self) -> Any:
        """Return AdamW and its learning rate's cycle."""
        config = self.config
        backbone, head = networks.backbone_and_head_parameters(self.network)
        groups: list[dict[str, Any]] = [{"params": head, "lr": config.learning_rate}]
        if config.backbone_rate > 0:
            rate = config.learning_rate * config.backbone_rate
            groups.append({"params": backbone, "lr": rate})
        optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, [group["lr"] for group in groups], self.steps, cycle_momentum=False
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
            for module in self.network.modules():
                if isinstance(module, _BATCH_NORMS):
                    module.eval()

    def on_train_batch_start(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Seed dropout by the step, so that a resumed training draws the same."""
        torch.manual_seed(self.seed * 1_000_003 + self.global_step)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """Return the loss of a batch."""
        images, labels = batch
        smooth = self.config.label_smoothing
        targets = labels * (1 - 2 * smooth) + smooth
        loss = nn.functional.binary_cross_entropy_with_logits(self(images), targets)
        if not torch.isfinite(loss):
            raise Ws3Error(
                f"the classifier's loss became {loss.item()} in epoch {self.current_epoch + 1}; "
                "lower classifier.learning_rate, or check the starting weights"
            )
        self.losses.append(loss.detach())
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Keep the logits and labels of a batch."""
        self.validated.append((self(batch[0]).float().cpu(), batch[1].cpu()))

    def on_train_epoch_end(self) -> None:
        """Sum the epoch up, after its validation and before its checkpoint."""
        metrics: Metrics = {
            "train_loss": float(torch.stack(self.losses).mean()),
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
    """Write one line an epoch: `epoch,train_loss,val_loss,val_map`; undefined ones are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["epoch", *epochs[0]])
    for number, metrics in enumerate(epochs, start=1):
        writer.writerow([number, *metrics.values()])
    write_bytes(path, text.getvalue().encode())


def _identity(
    rows: Sequence[ImageRow],
    val_rows: Sequence[ImageRow],
    classes: Sequence[str],
    config: run.Classifier,
    seed: int,
) -> str:
    """Return a digest of everything that the trained weights follow from."""
    images = [[row.image, row.labels, row.sha256 or row.stamp] for row in (*rows, *val_rows)]
    weights = (
        checkpoints.digest(config.weights)
        if config.weights not in (None, "imagenet")
        else config.weights
    )
    content = [images, len(rows), list(classes), config.model_dump(), weights, seed]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _resumable(path: Path, identity: str) -> bool:
    """Whether a whole checkpoint of this very training is there."""
    if not path.is_file():
        return False
    try:
        found = checkpoints.read(path).get("ws3", {}).get("identity")
    except Ws3Error:
        return False
    return bool(found == identity)
