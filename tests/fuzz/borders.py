"""The borders: what of each is spoilt, and which command reads it."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import yaml
from fuzz.harness import Border, Input
from fuzz.mutations import (
    LONG,
    NUMBERS,
    TEXTS,
    spoil_bytes,
    spoil_json,
    spoil_lines,
    spoil_place,
    spoil_value,
    value,
)
from fuzz.worlds import CONFIG, OTHER_FORMATS, SIZE, coco, finished_run, photographs, voc
from PIL import Image

RUN = "results/tiny"
_LOOKS = (("status", RUN), ("status", RUN, "--time"), ("verify", RUN), ("verify", RUN, "--repair"))
_STAGES = (
    ("maps", RUN, "-r", "cam"),
    ("maps", RUN, "-r", "crops"),
    ("masks", RUN, "-r", "cam"),
    ("threshold", RUN, "-r", "crops"),
    ("evaluate", RUN, "-r", "cam"),
    ("evaluate", RUN, "--summary"),
    ("predictions", RUN, "-r", "crops"),
    ("index", RUN),
    ("train-classifier", RUN),
)
_HANDED_ON = (
    ("report", RUN),
    ("show", RUN, "b", "-o", "results/b.png"),
    ("compare", RUN, "-o", "results/compared"),
    ("export", RUN, "-r", "cam", "--out", "results/voc"),
)
_INDEX = ("index", "--config", "config.yaml")


def tables(folder: Path, rng: Random) -> Input:
    """Spoil a label table, a class file, or a list of ids."""
    name = rng.choice(("labels.csv", "labels.csv", "classes.txt", "train.txt", "val.txt"))
    _be_lenient(folder, rng)
    return Input(_INDEX, _some(rng, lambda: spoil_lines(folder / "data" / name, rng)))


def ids(folder: Path, rng: Random) -> Input:
    """Give an image another id, everywhere."""
    name = str(rng.choice((*TEXTS, *(f"frame_{'0' * 30}", "y" * 100, "a.b.c", "CON", "é"))))
    name = name.replace("/", "").replace("\0", "") if rng.random() < 0.7 else name
    data = folder / "data"
    for table in ("labels.csv", "train.txt"):
        text = (data / table).read_text().replace("\na,", f"\n{name},").replace("a\n", f"{name}\n")
        (data / table).write_bytes(text.encode("utf-8", "surrogatepass"))
    for old, ending in (("images/a.jpg", ".jpg"), ("masks/a.png", ".png")):
        try:
            (data / old).rename((data / old).parent / f"{name}{ending}")
        except (OSError, ValueError):
            pass  # a name that no file can have: the table alone has it
    _be_lenient(folder, rng)
    return Input(_INDEX, f"id {name[:40]!r}")


def pictures(folder: Path, rng: Random) -> Input:
    """Spoil an image or a mask of an accepted format, or write one of another format."""
    data, kind = folder / "data", rng.choice(("image", "image", "mask", "format", "odd"))
    images, masks = sorted((data / "images").iterdir()), sorted((data / "masks").iterdir())
    _be_lenient(folder, rng)
    if kind == "format":
        path = rng.choice((*images, *masks))
        what = _write_other(path, rng)
    elif kind == "odd":
        path = rng.choice((*images, *masks))
        size = rng.choice((SIZE, (1, 1), (1, 3000), (3000, 1), (9000, 9000)))
        mode = rng.choice(("1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "I;16", "I", "F"))
        what = f"{path.name}: {mode} of {size}"
        data_of = io.BytesIO()
        form = rng.choice(("PNG", "TIFF"))
        form = "TIFF" if mode in ("CMYK", "F") else form
        Image.new(mode, size).save(data_of, form)
        path.write_bytes(data_of.getvalue())
    else:
        what = _some(rng, lambda: spoil_bytes(rng.choice(images if kind == "image" else masks), rng))
    return Input(_INDEX, what)


def configuration(folder: Path, rng: Random) -> Input:
    """Spoil the configuration that a run begins with, every key written out."""
    path = folder / "config.yaml"
    if rng.random() < 0.25:
        return Input(_INDEX, _some(rng, lambda: spoil_lines(path, rng)))
    from ws3.config.load import dump, resolve

    data = CONFIG if rng.random() < 0.3 else yaml.safe_load(dump(resolve(CONFIG)))
    data, what = spoil_value(copy.deepcopy(data), rng)
    _write_yaml(path, data)
    return Input(_INDEX, what)


def run_configuration(folder: Path, rng: Random) -> Input:
    """Spoil the configuration in a run's folder, which every command reads."""
    path = folder / RUN / "config.yaml"
    if rng.random() < 0.2:
        return Input(rng.choice(_LOOKS), _some(rng, lambda: spoil_lines(path, rng)))
    data = yaml.safe_load(path.read_text())
    if rng.random() < 0.5:
        section = data["masks"]
        if rng.random() < 0.7:
            section["crf"] = {"bilateral_sxy": 50.0, "bilateral_srgb": 5.0, "iterations": 2}
            section["crf"][rng.choice(sorted(section["crf"]))] = rng.choice(NUMBERS)
            what = f"masks.crf: {section['crf']}"[:200]
        else:
            data["masks"], what = spoil_value(section, rng)
        _write_yaml(path, data)
        (folder / RUN / "receipts/masks/cam/val-00000.json").unlink()
        return Input(("masks", RUN, "-r", "cam", "--image", "e"), what)
    data, what = spoil_value(data, rng)
    _write_yaml(path, data)
    return Input(rng.choice((*_LOOKS, ("evaluate", RUN, "--summary"), ("report", RUN))), what)


def coco_files(folder: Path, rng: Random) -> Input:
    """Spoil a COCO file."""
    path = folder / "data/annotations/instances_some.json"
    if rng.random() < 0.4:
        # The numbers of regions, which native code would get.
        content = json.loads(path.read_text())
        item = rng.choice(content["annotations"])
        item["segmentation"], what = spoil_value(item["segmentation"], rng)
        path.write_text(json.dumps(content))
        what = f"segmentation: {what}"
    else:
        what = _some(rng, lambda: spoil_json(path, rng), json.loads)
    draw = ("coco-masks", "data", "some")
    return Input(rng.choice((draw, draw, _INDEX)), what)


def voc_files(folder: Path, rng: Random) -> Input:
    """Spoil an annotation or a list of a VOC tree."""
    data = folder / "data"
    paths = sorted((data / "Annotations").iterdir())
    _be_lenient(folder, rng)
    kind = rng.choice(("xml", "xml", "encoding", "encoding", "list"))
    if kind == "list":
        path = rng.choice(sorted((data / "ImageSets/Segmentation").iterdir()))
        return Input(_INDEX, _some(rng, lambda: spoil_lines(path, rng)))
    path = rng.choice(paths)
    if kind == "xml":
        return Input(_INDEX, _some(rng, lambda: spoil_lines(path, rng)))
    said = rng.choice(
        ("gb2312", "shift_jis", "utf-7", "utf-16", "utf-32", "ansi", "euc-kr", "latin-1", "koi8-r")
        + ("big5", "rot13", "hex", "zlib", "idna", "unicode_escape", "cp1252", "", "x" * LONG)
    )
    text = path.read_text().replace("utf-8", said).replace("head", "\u732b\u00e9")
    try:
        path.write_bytes(text.encode(rng.choice((said, "utf-8", "gb18030")), "replace"))
    except (LookupError, ValueError, TypeError, AttributeError):
        path.write_text(text, encoding="utf-8")
    return Input(_INDEX, f"{path.name}: encoding {said[:40]!r}")


def checkpoints(folder: Path, rng: Random) -> Input:
    """Spoil a classifier, a segmentation network or a training's checkpoint."""
    run = folder / RUN
    kind = rng.choice(("classifier", "classifier", "own classifier", "network", "training"))
    if kind == "classifier":
        path, arguments = folder / "mine.pt", ("train-classifier", RUN)
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


def records(folder: Path, rng: Random) -> Input:
    """Spoil a JSON file, a table or a journal of a finished run."""
    run = folder / RUN
    paths = [
        *(path for path in sorted(run.rglob("*.json")) if ".zarr" not in str(path)),
        *(run / "index.csv", run / "classes.txt"),
        *sorted(run.glob("journal/*.jsonl")),
        *sorted(run.glob("evaluation/*.csv")),
    ]
    path = rng.choice(paths)
    what = spoil_json(path, rng) if path.suffix == ".json" else spoil_lines(path, rng)
    return Input(_command(rng), f"{path.relative_to(run).parent}/{what}")


def stores(folder: Path, rng: Random) -> Input:
    """Spoil the metadata of a Zarr store, its chunks, or a mask."""
    run = folder / RUN
    kind = rng.choice(("metadata", "metadata", "chunk", "mask"))
    pattern = {"metadata": "*/*.zarr/**/zarr.json", "chunk": "*/*.zarr/**/c/**/*"}
    found = run.glob(pattern.get(kind, "[mp]*/*/*.png"))
    path = rng.choice(sorted(path for path in found if path.is_file()))
    what = spoil_json(path, rng) if kind == "metadata" else spoil_bytes(path, rng)
    return Input(_command(rng), f"{path.relative_to(run).parent}/{what}")


def places(folder: Path, rng: Random) -> Input:
    """Put links, pipes, folders and the like in place of any file or folder."""
    run = folder / RUN
    if rng.random() < 0.4:
        found = [path for path in sorted((folder / "data").rglob("*"))]
        found += [folder / "config.yaml", folder / "mine.pt"]
        arguments: tuple[str, ...] = rng.choice((_INDEX, _INDEX, ("train-classifier", RUN)))
    else:
        found, arguments = sorted(run.rglob("*")), _command(rng)
        if rng.random() < 0.5:
            found = [path for path in found if len(path.relative_to(run).parts) <= 2]
    path = rng.choice(found)
    what = spoil_place(path, folder / "neighbour", rng)
    return Input(arguments, f"{path.relative_to(folder).parent}: {what}")


def arguments(folder: Path, rng: Random) -> Input:
    """Give a command values of options that make no sense."""
    text = str(rng.choice((*TEXTS, *NUMBERS))).replace("\0", "")[: LONG // 2]
    text = text.encode("utf-8", "replace").decode()
    given: tuple[str, ...] = rng.choice(
        (
            ("status", text),
            ("masks", RUN, "-r", text),
            ("masks", RUN, "-r", "cam", "--image", text),
            ("masks", RUN, "-r", "cam", "--batch", text),
            ("show", RUN, text, "-o", "results/x.png"),
            ("show", RUN, "b", "-o", f"results/{text}"),
            ("export", RUN, "-r", "cam", "--out", f"results/{text}", "-f", "voc"),
            ("export", RUN, "-r", "cam", "--out", "results/out", "-f", text),
            ("index", "--config", text),
            ("demo-data", f"results/{text}", "--size", "48", "--train-images", "2"),
            ("demo-data", "results/drawn", "--size", text),
            ("coco-masks", "data", text),
            ("coco-masks", text, "some"),
            ("verify", text),
            ("compare", RUN, text, "-o", "results/c"),
            ("evaluate", RUN, "-r", text),
            (text,),
        )
    )
    return Input(given, f"argument {text[:40]!r}")


def _command(rng: Random) -> tuple[str, ...]:
    """Return a command that reads a run: most are quick."""
    group = rng.choice((_LOOKS, _LOOKS, _LOOKS, _STAGES, _STAGES, _STAGES, _STAGES, _HANDED_ON))
    return rng.choice(group)


def _some(
    rng: Random, spoil: Callable[[], str], readable: Callable[[str], Any] | None = None
) -> str:
    """Spoil once, or a few times."""
    return "; ".join(spoil() for _ in range(1 if readable else rng.choice((1, 1, 1, 2, 4))))


def _be_lenient(folder: Path, rng: Random) -> None:
    """Let half of the runs skip bad images instead of refusing them."""
    if rng.random() < 0.5:
        with (folder / "config.yaml").open("a") as file:
            file.write("on_bad_image: skip\n")


def _write_other(path: Path, rng: Random) -> str:
    """Write a picture of another format under the name of one that is read."""
    ending = rng.choice(OTHER_FORMATS)
    picture, data = Image.new(rng.choice(("RGB", "L", "P")), SIZE, 1), io.BytesIO()
    try:
        picture.save(data, Image.registered_extensions()[ending])
    except (OSError, KeyError, ValueError):  # no encoder here, or not of this mode
        data.write(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\nshowpage\n")
    path.write_bytes(data.getvalue())
    what = f"{path.name}: a {ending} file"
    return f"{what}, {spoil_bytes(path, rng)}" if rng.random() < 0.5 else what


def _write_yaml(path: Path, data: Any) -> None:
    try:
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    except (yaml.YAMLError, RecursionError):
        text = repr(data)
    path.write_text(text, encoding="utf-8", errors="surrogatepass")


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
        "quantised": lambda: torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.qint8),
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


BORDERS = (
    Border("tables", photographs, tables, share=3),
    Border("ids", photographs, ids, share=1),
    Border("pictures", photographs, pictures, share=5),
    Border("configuration", photographs, configuration, share=4),
    Border("run-configuration", finished_run, run_configuration, share=3),
    Border("coco", coco, coco_files, share=4, writes=("results", "data/masks")),
    Border("voc", voc, voc_files, share=2),
    Border("checkpoints", finished_run, checkpoints, share=3),
    Border("records", finished_run, records, share=5),
    Border("stores", finished_run, stores, share=4),
    Border("places", finished_run, places, share=4),
    Border("arguments", finished_run, arguments, share=1),
)
"""All borders; `places` reaches every file and folder of a dataset and of a run."""
