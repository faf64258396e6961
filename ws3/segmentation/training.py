"""Training of a segmentation network on pseudo-masks, with Lightning."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.callbacks import TQDMProgressBar
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import PolynomialLR
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from ws3.config.segmentation import Segmentation
from ws3.errors import Ws3Error
from ws3.files import write_csv
from ws3.labels import IGNORED
from ws3.segmentation.data import EpochSampler, MaskConfidence, PseudoMaskDataset
from ws3.segmentation.networks import build
from ws3.training.batches import loader_workers
from ws3.training.checkpoint import CHECKPOINT, read_checkpoint, resumable
from ws3.training.processes import (
    fit,
    isolated_torch_state,
    keep_statistics,
    make_trainer,
    mean_over_processes,
)

log = logging.getLogger(__name__)

HISTORY = "training.csv"
_NEW_LAYERS_RATE = 10.0  # of a new head on a pretrained backbone, relative to the backbone's
_POLY_POWER = 0.9
_LARGEST_GRADIENT = 1.0  # norm to which gradients on a pretrained backbone are clipped
_STATISTICS_MOMENTUM = 0.1


@dataclass(frozen=True)
class Epoch:
    """Figures of one training epoch, on the augmented crops.

    Attributes:
        epoch: Its number, from 1.
        loss: Mean of the batches' cross-entropy.
        pixel_accuracy: Share of the labelled pixels that were right.
        learning_rate: The backbone's, after the epoch.
    """

    epoch: int
    loss: float
    pixel_accuracy: float
    learning_rate: float


@dataclass(frozen=True)
class TrainedSegmentation:
    """A trained network, in evaluation mode on the CPU, and the epochs that made it."""

    network: nn.Module
    epochs: tuple[Epoch, ...]


def pixel_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy over the labelled pixels; 0, with zero gradient, if there is none.

    Where several processes train together, the mean of their losses is that of all their pixels.

    Args:
        logits: float (N, classes with background, H, W).
        labels: int64 (N, H, W); 255 is ignored.
        weights: How much each pixel counts in the mean, float32 (N, H, W), above 0; None: all of
            them alike.

    Returns:
        A scalar, float32.
    """
    if weights is not None:
        losses = functional.cross_entropy(
            logits.float(), labels, ignore_index=IGNORED, reduction="none"
        )
        weight = (weights * (labels != IGNORED)).sum()
        # No pixel weighs as little as that, so it matters only where there is none.
        return (losses * weights).sum() / mean_over_processes(weight.clamp(min=1e-6))
    total = functional.cross_entropy(logits.float(), labels, ignore_index=IGNORED, reduction="sum")
    # The mean that torch itself would take is 0/0 = NaN where every pixel is ignored.
    labelled = (labels != IGNORED).sum().clamp(min=1)
    return total / mean_over_processes(labelled)


class SegmentationTask(LightningModule):
    """What Lightning needs to train a segmentation network.

    SGD with momentum 0.9 under the poly schedule of DeepLab (Chen et al. 2017, arXiv 1606.00915),
    whose rate falls each step as (1 - step / steps)^0.9. With a pretrained backbone, the new
    head learns 10 times as fast, and the backbone's batch normalisation keeps its statistics:
    batches are too small to estimate better ones, and weights with the normalisation folded into
    the convolutions have none to speak of. As nothing then bounds the activations, gradients are
    clipped to norm 1. From scratch, all layers learn at the same rate, unclipped.

    With `ema`, the trained network is the moving average of the weights over the steps (Polyak
    and Juditsky 1992), which the checkpoint holds like any other weights.

    Args:
        network: A network from `build`.
        config: How to train.
        seed: Seed of the run.
        identity: Digest of everything that the outcome depends on; kept in the checkpoint.
        folder: Where the checkpoint and the history go after each epoch.
    """

    def __init__(
        self, network: nn.Module, config: Segmentation, seed: int, identity: str, folder: Path
    ) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.seed = seed
        self.identity = identity
        self.folder = folder
        self.average = None if config.ema is None else _moving_average(network, config.ema)
        self.history: list[Epoch] = []
        self._loss = self._right = self._labelled = 0.0
        self._started = 0.0

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule, stepped after each batch."""
        config = self.config
        rate = config.learning_rate
        head_rate = rate if config.weights is None else rate * _NEW_LAYERS_RATE
        groups = [
            {"params": list(self.network.get_submodule("backbone").parameters()), "lr": rate},
            {
                "params": list(self.network.get_submodule("classifier").parameters()),
                "lr": head_rate,
            },
        ]
        optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=config.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = PolynomialLR(optimizer, total_iters=steps, power=_POLY_POWER)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    @property
    def trained(self) -> nn.Module:
        """The network that the training ends with."""
        return self.network if self.average is None else self.average.module

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then bring the moving average up to date."""
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:
            self.average.update_parameters(self.network)

    def on_train_epoch_start(self) -> None:
        """Prepare an epoch so that it doesn't depend on how the ones before were run."""
        # Dropout is then the same in a resumed epoch as in an undisturbed one.
        torch.manual_seed(self.seed * 100_003 + self.current_epoch + 50_021 * self.global_rank)
        self._loss = self._right = self._labelled = 0.0
        self._started = time.monotonic()
        self.network.train()
        if self.config.weights is not None:
            keep_statistics(self.network.get_submodule("backbone"))

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """Return the loss of a batch of images (N, 3, S, S), labels (N, S, S), maybe weights.

        Raises:
            Ws3Error: If the loss is not finite.
        """
        images, labels, *weights = batch
        logits = self.network(images.contiguous(memory_format=torch.channels_last))["out"]
        loss = pixel_loss(logits, labels, *weights)
        with torch.no_grad():
            labelled = labels != IGNORED
            right = (logits.argmax(dim=1) == labels) & labelled
            # One transfer from the device for all three.
            figures = torch.stack([loss.detach().double(), right.sum(), labelled.sum()]).tolist()
        if not figures[0] < float("inf"):
            raise self._diverged(f"step {batch_idx + 1}")
        self._loss += figures[0]
        self._right += figures[1]
        self._labelled += figures[2]
        self.log("loss", figures[0], prog_bar=True, logger=False)
        return loss

    def on_train_epoch_end(self) -> None:
        """Note the epoch's figures, and keep the checkpoint.

        Raises:
            Ws3Error: If the weights are not finite, or no pixel of the epoch had a label.
        """
        if not all(bool(parameter.isfinite().all()) for parameter in self.network.parameters()):
            raise self._diverged("the last step")
        figures = torch.tensor([self._loss, self._right, self._labelled], dtype=torch.float64)
        loss, right, labelled = mean_over_processes(figures.to(self.device)).tolist()
        if labelled == 0:
            raise Ws3Error(
                f"no pixel of training epoch {self.current_epoch + 1} has a label: the "
                "pseudo-masks are all 255; lower masks.ignore_below or segmentation.ignore_below"
            )
        batches = int(self.trainer.num_training_batches)
        epoch = Epoch(
            epoch=self.current_epoch + 1,
            loss=loss / batches,
            pixel_accuracy=right / labelled,
            learning_rate=float(self.trainer.optimizers[0].param_groups[0]["lr"]),
        )
        self.history.append(epoch)
        if self.trainer.is_global_zero:
            epochs = [asdict(epoch) for epoch in self.history]
            write_csv(self.folder / HISTORY, list(epochs[0]), epochs)
        self.trainer.save_checkpoint(self.folder / CHECKPOINT)
        seconds = time.monotonic() - self._started
        log.info(
            "epoch %d/%d: loss %.4f, pixel accuracy %.3f, %.1f images/s, %.0f s left",
            epoch.epoch,
            self.config.epochs,
            epoch.loss,
            epoch.pixel_accuracy,
            batches * self.config.batch_size / seconds,
            seconds * (self.config.epochs - epoch.epoch),
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning doesn't keep by itself."""
        checkpoint["identity"] = self.identity
        checkpoint["history"] = [asdict(epoch) for epoch in self.history]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what `on_save_checkpoint` added."""
        self.history = [Epoch(**epoch) for epoch in checkpoint["history"]]

    def _diverged(self, where: str) -> Ws3Error:
        return Ws3Error(
            f"training diverged in epoch {self.current_epoch + 1} at {where}: the loss or a weight "
            f"is not finite; lower segmentation.learning_rate (now {self.config.learning_rate:g})"
        )


class _Batches(LightningDataModule):
    """The batches of one process, built in that process: a generator can't be pickled."""

    def __init__(
        self,
        pairs: Sequence[tuple[str | Path, str | Path]],
        classes: int,
        config: Segmentation,
        seed: int,
        workers: int,
        processes: int,
        coding: str,
        confidence: MaskConfidence | None,
    ) -> None:
        super().__init__()
        self._dataset = PseudoMaskDataset(
            pairs, classes, config.crop_size, config.scale_range, seed, coding, confidence
        )
        self._sampler = EpochSampler(len(pairs), config.batch_size, seed, processes)
        self._workers = workers

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(
            self._dataset,
            batch_size=self._sampler.share,
            sampler=self._sampler,
            num_workers=self._workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self._workers > 0,
            # A generator of its own: starting a loader draws from it, and dropout's must not move.
            generator=torch.Generator(),
        )


def train_network(
    pairs: Sequence[tuple[str | Path, str | Path]],
    classes: int,
    config: Segmentation,
    seed: int,
    folder: Path,
    device: str,
    progress: bool,
    workers: int | None = None,
    fingerprint: str = "",
    processes: int = 1,
    coding: str = "",
    confidence: MaskConfidence | None = None,
) -> TrainedSegmentation:
    """Train a segmentation network, or resume an interrupted training.

    After each epoch `folder` holds `last.ckpt`, from which the same call resumes, and
    `training.csv`. On CPU with a fixed number of threads, an interrupted and resumed training
    ends with the same weights as an undisturbed one, bit by bit. A checkpoint of another training
    (other images, config, seed or fingerprint) is not used. The caller's random numbers are left
    alone.

    Args:
        pairs: Image and mask files; 0 in a mask is background, i is class i - 1, 255 is ignored.
        classes: Number of classes without background.
        config: The network and how to train it.
        seed: Seed of the run.
        folder: Where the checkpoint goes.
        device: "cpu" or "cuda" (with mixed precision).
        progress: Whether to show a progress bar; otherwise one line is logged per epoch.
        workers: Processes that load images, for each that trains; 0: the training process itself
            loads them; None chooses. The result doesn't depend on it.
        fingerprint: Fingerprint of the masks' contents, which their paths don't show.
        processes: How many train together, each on a GPU of its own (or all on the CPU); must
            divide the batch size. They share every batch, so their number changes the outcome by
            no more than rounding and dropout; only on the CPU are batch statistics those of a
            process's share.
        coding: How the images are read; see `ws3.datasets.masks`.
        confidence: How sure the masks are of their pixels, and what to make of it.

    Returns:
        The network and the figures of its epochs.

    Raises:
        Ws3Error: If there is no image, a file can't be used, training diverged, or memory ran out.
    """
    if not pairs:
        raise Ws3Error("there is no pseudo-mask to train on; run `ws3 masks` first")
    folder.mkdir(parents=True, exist_ok=True)
    identity = _identity(pairs, classes, config, seed, fingerprint, confidence)
    resumed = resumable(folder / CHECKPOINT, identity)
    place = torch.device(device)
    on_gpu = place.type == "cuda"
    if workers is None:
        workers = loader_workers(on_gpu, processes)
    with isolated_torch_state(seed, place):
        # A resumed network needs no weights file any more: all of it is in the checkpoint.
        network = build(config.architecture, classes + 1, None if resumed else config.weights)
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                # MobileNetV3's own 0.01 lags behind in trainings of hundreds of steps.
                layer.momentum = _STATISTICS_MOMENTUM
        # Faster on CPU and, in mixed precision, on GPU.
        network.to(memory_format=torch.channels_last)
        task = SegmentationTask(network, config, seed, identity, folder)
        batches = _Batches(pairs, classes, config, seed, workers, processes, coding, confidence)
        trainer = make_trainer(
            place,
            processes,
            folder,
            progress=progress,
            callbacks=[TQDMProgressBar()] if progress else [],
            max_epochs=config.epochs,
            precision=_gpu_precision() if on_gpu else "32-true",
            accumulate_grad_batches=config.accumulate,
            gradient_clip_val=None if config.weights is None else _LARGEST_GRADIENT,
            enable_checkpointing=False,
        )
        try:
            fit(trainer, task, batches, folder / CHECKPOINT if resumed else None)
        except torch.OutOfMemoryError as error:
            raise Ws3Error(
                f"segmentation.batch_size: {config.batch_size} crops of {config.crop_size} pixels "
                "don't fit into the GPU's memory; lower batch_size or crop_size"
            ) from error
    if processes > 1:
        # ddp_spawn copies back the weights only; the epochs' figures come from the checkpoint.
        task.on_load_checkpoint(read_checkpoint(folder / CHECKPOINT))
    trained = task.trained.to(memory_format=torch.contiguous_format)
    return TrainedSegmentation(trained.cpu().eval(), tuple(task.history))


def _moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """Return the exponential moving average of a network's weights and statistics.

    It begins with the weights after the first step. To forget those soon, the decay in step n is
    at most (1 + n) / (10 + n).
    """
    averaged = AveragedModel(network, avg_fn=partial(_moved, decay), use_buffers=True)
    # The average is not trained; with requires_grad set, DDP would wait for gradients that never
    # arrive.
    return averaged.requires_grad_(False)


def _moved(decay: float, average: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
    kept = min(decay, (1 + int(steps)) / (10 + int(steps)))
    return average + (1 - kept) * (current - average)


def _gpu_precision() -> Any:
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16-mixed" if native else "16-mixed"


def _identity(
    pairs: Sequence[tuple[str | Path, str | Path]],
    classes: int,
    config: Segmentation,
    seed: int,
    fingerprint: str,
    confidence: MaskConfidence | None,
) -> str:
    """Return a digest of everything that a training's outcome depends on."""
    described: dict[str, Any] = {
        "pairs": [[str(image), str(mask)] for image, mask in pairs],
        "classes": classes,
        "config": config.training(),
        "seed": seed,
        "fingerprint": fingerprint,
    }
    if confidence is not None:
        files = [str(path) for path in confidence.files]
        described["confidence"] = [files, confidence.least, confidence.weighs]
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
