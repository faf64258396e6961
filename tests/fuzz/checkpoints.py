"""Checkpoints: a classifier, a segmentation network, an interrupted training."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from fuzz.common import RUN
from fuzz.harness import Arguments, Input
from fuzz.mutations import TEXTS, spoil_bytes, value


def checkpoints(folder: Path, rng: Random) -> Input:
    """Spoil a classifier, a segmentation network or a training's checkpoint."""
    run = folder / RUN
    kind = rng.choice(("classifier", "classifier", "own classifier", "network", "training"))
    if kind == "classifier":
        path = folder / "mine.pt"
        arguments: Arguments = ("train-classifier", RUN)
    elif kind == "own classifier":
        path, arguments = run / "classifier.pt", ("saliency", RUN, "-r", "cam", "--image", "e")
        (run / "maps/cam.zarr/e").rename(run / "maps/cam.zarr/.tmp-e-1-01234567")
    elif kind == "network":
        path = run / "segmentation/crops/model.pt"
        arguments = ("predictions", RUN, "-r", "crops")
        for mask in (run / "predictions/crops").glob("*.png"):
            mask.unlink()
    else:
        path, arguments = run / "segmentation/crops/last.ckpt", ("train-segmentation", RUN)
        arguments = (*arguments, "-r", "crops")
        (run / "segmentation/crops/model.pt").rename(path)
    what = _spoil_tensors(path, rng) if rng.random() < 0.7 else spoil_bytes(path, rng)
    if kind in ("own classifier", "network"):
        _vouch(path, run, rng)
    return Input(arguments, f"{kind}: {what}")


def _spoil_tensors(path: Path, rng: Random) -> str:
    """Change one value or tensor in a file of torch's."""
    import torch

    content = torch.load(path, weights_only=True)
    state = content["state_dict"]
    name = rng.choice(sorted(state))
    tensor = state[name]
    changes: dict[str, Callable[[], Any]] = {
        "NaN": lambda: torch.full_like(tensor.float(), float("nan")),
        "infinite": lambda: torch.full_like(tensor.float(), float("inf")),
        "huge": lambda: torch.full_like(tensor.float(), 3e38),
        "double": lambda: tensor.double() * 1e300,
        "half": lambda: tensor.half(),
        "whole": lambda: tensor.to(torch.int8),
        "complex": lambda: tensor.to(torch.complex64),
        "sparse": lambda: tensor.float().to_sparse(),
        "meta": lambda: tensor.to("meta"),
        "quantised": lambda: _quantised(tensor.float()),
        "empty": lambda: tensor[..., :0] if tensor.ndim else tensor,
        "other shape": lambda: tensor.reshape(-1),
        "a larger shape": lambda: tensor.expand(2, *tensor.shape),
        "a value": lambda: value(rng),
        "negative": lambda: -tensor - 1,
    }
    kind = rng.choice((*changes, "removed", "added", "key", "key", "key", "key"))
    if kind in changes:
        state[name] = changes[kind]()
    elif kind == "removed":
        del state[name]
    elif kind == "added":
        state[rng.choice(TEXTS)] = tensor
    else:
        key = rng.choice(sorted(content))
        new = rng.choice((value(rng), tensor, [tensor], {"a": tensor}))
        content[key], name = new, f"{key} = {str(new)[:40]!r}"
        if rng.random() < 0.2:
            del content[key]
    torch.save(content, path)
    return f"{name}: {kind}"


def _quantised(tensor: Any) -> Any:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are deprecated, and yet in files
        return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


def _vouch(path: Path, run: Path, rng: Random) -> None:
    """Write the spoilt file's digest where the run has it, so that its content is looked at."""
    from ws3.files import file_sha256

    if rng.random() < 0.2:
        return
    for receipt in run.glob("receipts/train_*/**/*.json"):
        _redo(receipt, path, file_sha256(path))
    _redo(run / "receipts/train_classifier.json", path, file_sha256(path))


def _redo(receipt: Path, path: Path, digest: str) -> None:
    if ("classifier" in receipt.name) == (path.name == "classifier.pt"):
        facts = json.loads(receipt.read_text())
        receipt.write_text(json.dumps({**facts, "sha256": digest}))
