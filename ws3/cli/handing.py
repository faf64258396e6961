"""The commands that hand masks on: to other programs, and for photographs of no run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from ws3.cli.inspect import PANEL
from ws3.cli.saying import say
from ws3.cli.stages import OpenRun, RecipeName
from ws3.errors import Ws3Error
from ws3.jobs.progress import ProgressReport

if TYPE_CHECKING:
    from ws3.tools.predict import Predicted


Licence = Annotated[
    str | None,
    typer.Option("--license", metavar="URL", help="The results' licence; default: none is stated."),
]


class MaskMode(StrEnum):
    """Modes of mask files."""

    P = "P"
    L = "L"


class What(StrEnum):
    """Which masks are exported."""

    TRAINING = "training"
    PSEUDO_MASKS = "pseudo-masks"
    PREDICTIONS = "predictions"


class Ignored(StrEnum):
    """How COCO exports hold ignored pixels."""

    MASKS = "masks"
    CROWD = "crowd"


class Crf(StrEnum):
    """The CRF's presets."""

    NONE = "none"
    DEEPLAB = "deeplab"
    PSA = "psa"
    IRN = "irn"


class Device(StrEnum):
    """What the network runs on."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class OnBadImage(StrEnum):
    """What a photograph without a mask means for the exit status."""

    FAIL = "fail"
    SKIP = "skip"


class ExportCommand(TyperCommand):
    """Describes the formats, also those of installed packages, where help is asked for."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        from ws3.exports.formats import FORMATS

        formats = [f"{name}: {FORMATS[name].summary}" for name in FORMATS]
        for parameter in self.params:
            if isinstance(parameter, TyperOption) and parameter.name == "format_name":
                parameter.help = f"{'; '.join(formats)}."
        super().format_help(ctx, formatter)


class PredictCommand(TyperCommand):
    """Tells who means the stage of ws3 0.1 that had this name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments."""
        old = {"--recipe", "-r", "--batch", "--image"} & {one.partition("=")[0] for one in args}
        if old or (args and not args[0].startswith("-")):
            raise Ws3Error(
                "ws3 predict takes --model, --images and --output; the stage of a run is called "
                "predictions now: ws3 predictions RUN --recipe NAME"
            )
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(cls=ExportCommand, rich_help_panel=PANEL)(export)
    app.command(cls=PredictCommand, rich_help_panel=PANEL)(predict)
    app.command(rich_help_panel=PANEL)(crate)
    app.command(rich_help_panel=PANEL)(publish)


def export(
    run: OpenRun,
    recipe: RecipeName,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A folder that isn't there.")],
    format_name: Annotated[str, typer.Option("--format", "-f", metavar="NAME")] = "voc",
    what: Annotated[
        What,
        typer.Option(
            metavar="NAME",
            help="training: pseudo-masks of train, ground truth of val; pseudo-masks: of all "
            "splits that get any; predictions: the segmentation network's.",
        ),
    ] = What.TRAINING,
    mask_mode: Annotated[
        MaskMode | None,
        typer.Option(help="voc, mmseg: P has VOC's palette (default), L is gray: values alone."),
    ] = None,
    devkit: Annotated[
        bool,
        typer.Option("--devkit", help="voc: into DIR/VOCdevkit/VOC2012, as torchvision wants."),
    ] = False,
    image_folder: Annotated[
        bool, typer.Option("--image-folder", help="coco: photographs go to images/<split>/.")
    ] = False,
    ignored: Annotated[
        Ignored | None,
        typer.Option(
            metavar="NAME",
            help="coco. masks: ignored pixels lie beside (default); crowd: they are a crowd "
            "region, which many readers take for an object.",
        ),
    ] = None,
) -> None:
    """Write a recipe's masks for other programs."""
    from ws3.tools.export import export

    given = {
        "mask_mode": mask_mode and mask_mode.value,
        "devkit": devkit or None,
        "image_folder": image_folder or None,
        "ignored": ignored and ignored.value,
    }
    options = {name: value for name, value in given.items() if value is not None}
    counts = export(run, recipe, format_name, out, what=what.value, **options)
    images = ", ".join(f"{count} {split} images" for split, count in counts.items())
    say(f"{out}: {images or 'no images'}")


def crate(run: OpenRun, licence: Licence = None) -> None:
    """Describe a finished run's files as an RO-Crate: sizes, SHA-256, and what made them.

    Written are RUN/ro-crate-metadata.json and RUN/manifest-sha256.txt, which `sha256sum --check`
    reads.
    """
    from ws3.tools.crate import write_crate

    say(write_crate(run, licence))


def publish(
    run: OpenRun,
    url: Annotated[
        str, typer.Argument(metavar="URL", help="s3://bucket/prefix, file:///folder, or a folder.")
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="Overwrite files that are there with other bytes.")
    ] = False,
    licence: Licence = None,
) -> None:
    """Verify a finished run and copy it where others can read it; nothing is removed there.

    What is there already with the same bytes is kept, so the same command goes on after an
    interruption; manifest-sha256.txt comes last. Any address of fsspec will do; S3 needs
    `pip install 'ws3-seg[cloud]'`, and takes keys and endpoint from AWS's usual places.
    """
    from ws3.tools.publish import publish

    with ProgressReport("publish", unit="files") as progress:
        done = publish(run, url, replace=replace, licence=licence, reach=progress.reach)
    say(f"{url}: {done.copied} files copied ({done.bytes / 1e6:.1f} MB), {done.kept} there already")


def predict(
    model: Annotated[
        Path, typer.Option(metavar="FILE", help="A run's segmentation/<recipe>/model.pt.")
    ],
    images: Annotated[
        Path, typer.Option(metavar="DIR", help="Photographs, also in subfolders; or one of them.")
    ],
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="Gets <name>.png in the same subfolders.")
    ],
    mask_mode: Annotated[
        MaskMode, typer.Option(help="P has VOC's palette, L is gray: values alone.")
    ] = MaskMode.P,
    scales: Annotated[
        str | None,
        typer.Option(metavar="0.75,1,1.25", help="Default: as when the network was trained."),
    ] = None,
    flip: Annotated[
        bool | None, typer.Option("--flip/--no-flip", help="Average over the mirrored image too.")
    ] = None,
    crf: Annotated[Crf | None, typer.Option(help="CRF on the predictions.")] = None,
    device: Annotated[Device, typer.Option(help="auto is a GPU if there is one.")] = Device.AUTO,
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities", help="Also <name>.npy: float16 (background and classes, H, W)."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make masks again that are there already.")
    ] = False,
    on_bad_image: Annotated[
        OnBadImage, typer.Option(help="fail: exit status 1 if one has no mask; skip: 0.")
    ] = OnBadImage.FAIL,
) -> None:
    """Predict masks of photographs that belong to no run.

    What is there already is kept, so that the same command goes on after an interruption. (The
    stage of a run that had this name in ws3 0.1 is called predictions.)
    """
    from ws3.jobs.gpus import own_device
    from ws3.tools.predict import Options, predict_images

    options = Options(
        scales=None if scales is None else scales.split(","),
        flip=flip,
        crf=crf and crf.value,
        device=str(own_device(device.value)),
        mask_mode=mask_mode.value,
        probabilities=probabilities,
        overwrite=overwrite,
    )
    found = predict_images(model, images, output, options, lambda problem: say(problem, err=True))
    say(_summary(output, found))
    if found.problems and on_bad_image is OnBadImage.FAIL:
        raise typer.Exit(1)


def _summary(output: Path, found: Predicted) -> str:
    settings = found.settings
    how = ", ".join(f"{scale:g}" for scale in settings.scales)
    mirrored = "mirrored too" if settings.flip else "not mirrored"
    refined = "no CRF" if settings.crf is None else "CRF"
    parts = [f"{found.made} masks written"]
    parts += [f"{found.kept} there already"] if found.kept else []
    parts += [f"{len(found.problems)} photographs without"] if found.problems else []
    parts += [f"{found.other_files} other files left alone"] if found.other_files else []
    return (
        f"{output}: {', '.join(parts)}; {len(found.classes)} classes (classes.txt); "
        f"scales {how}, {mirrored}, {refined}"
    )
