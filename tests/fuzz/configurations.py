"""Configurations, of a run to begin and of one that is there; options of commands."""

from __future__ import annotations

import copy
from pathlib import Path
from random import Random
from typing import Any

import yaml

from fuzz.common import INDEX, LOOKS, RUN, some
from fuzz.harness import Arguments, Input
from fuzz.mutations import LONG, NUMBERS, TEXTS, spoil_lines, spoil_value
from fuzz.worlds import CONFIG

REPOSITORY = Path(__file__).parents[2]

BEYOND: tuple[tuple[str, Any], ...] = (
    ("seeds", [0, 1]),
    ("classifier", {**CONFIG["classifier"], "train": "head"}),
    ("recipes", {**CONFIG["recipes"], "second": {"network": "crops"}}),
    (
        "recipes",
        {**CONFIG["recipes"], "theirs": {"import": {"maps": "data/images", "format": "png"}}},
    ),
    ("recipes", {**CONFIG["recipes"], "layers": {"preset": "contrast_crops"}}),
    (
        "recipes",
        {**CONFIG["recipes"], "walk": {"samples_from": "cam", "aggregation": {"random_walk": {}}}},
    ),
    *(
        (
            "recipes",
            {
                **CONFIG["recipes"],
                "walk": {"samples_from": "cam", "aggregation": {"random_walk": walk}},
            },
        )
        for walk in (
            {"affinity": "attention", "blocks": 2, "sinkhorn": 3, "box": 0.4},
            {"affinity": {"network": "resnet18", "weights": "classifier.pt", "least": 0.1}},
        )
    ),
    (
        "recipes",
        {
            **CONFIG["recipes"],
            "settled": {
                "method": "gradient",
                "samples": {"kind": "crops", "count": {"max": 8, "tolerance": 0.1}},
            },
        },
    ),
    ("recipes", {**CONFIG["recipes"], "named": {"method": "gradcam", "options": {"layer": "a.b"}}}),
    ("masks", {"background": {"kind": "auto"}, "crf": {"max_pixels": 1000}}),
    ("masks", {**CONFIG["masks"], "regions": {"kind": "slic"}}),
    ("masks", {**CONFIG["masks"], "confidence": True}),
    ("masks", {**CONFIG["masks"], "regions": {"kind": "files", "folder": "data/masks"}}),
)
"""Sections of features that the plain configuration doesn't use."""


def configuration(folder: Path, rng: Random) -> Input:
    """Spoil the configuration that a run begins with, every key written out."""
    path = folder / "config.yaml"
    if rng.random() < 0.25:
        return Input(INDEX, some(rng, lambda: spoil_lines(path, rng)))
    from ws3.config.load import dump, resolve

    data = dict([*CONFIG.items(), rng.choice(BEYOND)]) if rng.random() < 0.6 else CONFIG
    if rng.random() < 0.7:
        data = yaml.safe_load(dump(resolve(data)))
    data, what = spoil_value(copy.deepcopy(data), rng)
    _write_yaml(path, data)
    return Input(INDEX, what)


def run_configuration(folder: Path, rng: Random) -> Input:
    """Spoil the configuration in a run's folder, which every command reads."""
    path = folder / RUN / "config.yaml"
    if rng.random() < 0.2:
        return Input(rng.choice(LOOKS), some(rng, lambda: spoil_lines(path, rng)))
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
    return Input(rng.choice((*LOOKS, ("evaluate", RUN, "--summary"), ("report", RUN))), what)


def snakemake_configuration(folder: Path, rng: Random) -> Input:
    """Give Snakemake values by its own `--config`, which replace those of the file."""
    data, what = spoil_value(copy.deepcopy(CONFIG), rng)
    key = rng.choice(sorted(CONFIG))
    if isinstance(data, dict) and rng.random() < 0.7:
        # The section that was spoilt, or, where it was removed or is a new one, another.
        key = next((name for name in data if data[name] != CONFIG.get(name)), key)
        given = yaml.safe_dump(data.get(key), default_flow_style=True, width=LONG).strip()
    else:
        given = what = str(rng.choice((*TEXTS, *NUMBERS)))[:50_000]
    text = f"{key}={given}".replace("\0", "").encode("utf-8", "replace").decode()
    if _is_nothing(text.partition("=")[2]):
        # Snakemake 9.27 ends with an AssertionError, before anything of ws3 runs (findings/).
        text = f"{key}=nothing"
    options = ("-n", "--quiet", "--cores", "1", "--snakefile", str(REPOSITORY / "Snakefile"))
    given_file = ("--configfile", "config.yaml", "--config", text)
    return Input(("snakemake", *options, *given_file), f"{key}: {what[:60]!r}")


def arguments(folder: Path, rng: Random) -> Input:
    """Give a command values of options that make no sense."""
    text = str(rng.choice((*TEXTS, *NUMBERS))).replace("\0", "")[: LONG // 2]
    text = text.encode("utf-8", "replace").decode()
    given: Arguments = rng.choice(
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


def _is_nothing(value: str) -> bool:
    """Return whether a text, without quotes around it, is a YAML document with nothing in it."""
    try:
        return yaml.compose(value.strip("'\""), Loader=yaml.SafeLoader) is None
    except yaml.YAMLError:
        return False


def _write_yaml(path: Path, data: Any) -> None:
    try:
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    except (yaml.YAMLError, RecursionError):
        text = repr(data)
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
