"""Training in one process or several: Lightning's trainer, its silence, and errors as sentences."""

from __future__ import annotations

import logging
import re
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import ProcessRaisedException

from ws3.errors import Ws3Error
from ws3.training.checkpoint import SafeCheckpointIO

_ADVICE = ("does not have many workers", "no `val_dataloader`", "LeafSpec", "srun", "not empty")
_DETERMINISTIC: Any = torch.utils.deterministic  # its parts are unknown to type checkers
_GRACE = 2.0  # seconds
_LINE_EVERY = 30.0  # seconds
_log = logging.getLogger(__name__)
_LEVELS = {
    "lightning.pytorch": logging.WARNING,
    "lightning.fabric": logging.WARNING,
    # It warns that one process's error ends the others.
    "torch.multiprocessing.spawn": logging.ERROR,
}
# The type names both a sentence of ours in a traceback and one that a loader process wrapped.
_SENTENCE = re.compile(r"(?:^|(?<=\n))ws3\.[\w.]*Error: ")


def make_trainer(
    device: torch.device,
    processes: int,
    folder: Path,
    *,
    progress: bool,
    callbacks: Sequence[Callback] = (),
    **more: Any,
) -> Trainer:
    """Return Lightning's trainer of one node.

    Args:
        device: Where to train: the CPU or GPUs.
        processes: How many train together, each on a GPU of its own (or all on the CPU).
        folder: Where Lightning may write.
        progress: Whether to draw a progress bar.
        callbacks: Of the training itself.
        more: Further arguments of Lightning's.
    """
    on_gpu = device.type != "cpu"
    return Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=processes,
        strategy="ddp_spawn" if processes > 1 else "auto",
        # Named explicitly: inside a Slurm job, Lightning would take over its environment.
        plugins=[
            LightningEnvironment(),
            SafeCheckpointIO(),
            *([SharedBatchNorm()] if on_gpu and processes > 1 else []),
        ],
        callbacks=[_IsolatedTorchState(), *([] if progress else [_BatchLines()]), *callbacks],
        enable_progress_bar=progress,
        enable_model_summary=False,
        logger=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=folder,
        **more,
    )


def fit(
    trainer: Trainer, module: LightningModule, data: LightningDataModule, resume: Path | None
) -> None:
    """Train, from a checkpoint if there is one.

    Raises:
        Ws3Error: If this or any other process raised one; as one sentence.
        OutOfMemoryError: If a GPU's memory was too small in this or any other process.
    """
    try:
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    except (Ws3Error, ProcessRaisedException) as error:
        if isinstance(error, Ws3Error) or _SENTENCE.search(str(error)):
            # A loader process wraps the sentence into a traceback, whose last line it is.
            raise Ws3Error(_SENTENCE.split(str(error))[-1].rstrip()) from error
        if "torch.OutOfMemoryError: " in str(error):
            raise torch.OutOfMemoryError(str(error)) from error
        raise


@contextmanager
def isolated_torch_state(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch and silence Lightning's advice within the block.

    Afterwards random numbers, torch's determinism, log levels and warnings are as before.
    """
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fill = _DETERMINISTIC.fill_uninitialized_memory
    loggers = [logging.getLogger(name) for name in _LEVELS]
    levels = [logger.level for logger in loggers]
    gpus = [torch.cuda.current_device()] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=gpus), warnings.catch_warnings():
            _silence_lightning()
            torch.manual_seed(seed)
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        _DETERMINISTIC.fill_uninitialized_memory = fill
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def mean_over_processes(value: Tensor) -> Tensor:
    """Return the mean of a value over the processes that train together, without gradient.

    In one process it is the value itself.
    """
    if not distributed.is_initialized():
        return value
    mean = value.detach().double()
    distributed.all_reduce(mean)
    return mean / distributed.get_world_size()


class SharedBatchNorm(TorchSyncBatchNorm):
    """Puts batch norms that share their statistics over all GPUs in the place of plain ones."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Return the network with its batch norms replaced."""
        # torch would take away the activations of timm's batch norms that have one.
        layers: Any = sys.modules.get("timm.layers")
        convert = nn.SyncBatchNorm if layers is None else layers
        result: nn.Module = convert.convert_sync_batchnorm(model)
        return result


def keep_statistics(network: nn.Module) -> None:
    """Put batch normalisation into evaluation mode, so that its statistics are not updated."""
    for layer in network.modules():
        # On several GPUs Lightning has put SyncBatchNorm in its place.
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)):
            layer.eval()


def _silence_lightning() -> None:
    # Where torch is deterministic, every new tensor would be filled with NaN first, which costs a
    # third of a step.
    _DETERMINISTIC.fill_uninitialized_memory = False
    for name, level in _LEVELS.items():
        logging.getLogger(name).setLevel(level)
    # Advice to developers (few loader processes, unusual logging interval), not to users.
    warnings.filterwarnings("ignore", module="lightning")
    for message in _ADVICE:
        warnings.filterwarnings("ignore", message=f".*{message}")


class _IsolatedTorchState(Callback):
    """Applies the parent's log level and warning filters in each process that Lightning spawns."""

    def __init__(self) -> None:
        self._level = logging.getLogger("ws3").getEffectiveLevel()

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A spawned process unpickles the trainer first; `setup` would be too late.
        self.__dict__.update(state)
        _silence_lightning()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if trainer.world_size > 1 and trainer.is_global_zero:  # all would log the same
            logging.basicConfig(level=self._level, format="%(message)s", stream=sys.stderr)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        if trainer.world_size > 1 and not isinstance(exception, Ws3Error):
            # When a process fails, the others lose the connection to it. Only the first error to
            # end its process is reported, and that should be the cause.
            time.sleep(_GRACE)


class _BatchLines(Callback):
    """Logs how far a long epoch is; a short one only has the line at its end."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = self._spoke = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        now = time.monotonic()
        if now - self._spoke < _LINE_EVERY or not trainer.is_global_zero:
            return
        self._spoke, done, total = now, batch_idx + 1, int(trainer.num_training_batches)
        rate = done / (now - self._began)
        _log.info(
            "epoch %d of %s: %d/%d batches, %.2f batches/s, about %.0f s of it left",
            *(trainer.current_epoch + 1, trainer.max_epochs, done, total, rate),
            (total - done) / rate,
        )
