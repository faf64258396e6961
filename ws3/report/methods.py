"""What a run did, in the words of a paper: text, LaTeX and BibTeX from its configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from ws3.config.classifier import OPEN_CLIP, OWN_STRIDE, TIMM, ClassifierConfig
from ws3.config.masks import (
    AutoBackground,
    CrfParameters,
    PowerBackground,
    TunedBackground,
)
from ws3.config.methods import OWN_METHODS, LayerOptions, LayersOptions
from ws3.config.recipes import Aggregation, RandomWalk, Recipe, Samples
from ws3.config.regions import FelzenszwalbRegions, SlicRegions
from ws3.config.run import GROUND_TRUTH, RunConfig
from ws3.config.segmentation import SMP, PrecisionCut, Segmentation, smp_parts
from ws3.masks.crf import PRESETS as CRF_PRESETS
from ws3.metrics.bootstrap import RESAMPLES
from ws3.report.latex import escaped
from ws3.report.references import REFERENCES, bibliography, reference_of
from ws3.run.records import ClassifierFacts, SegmentationFacts, Threshold

# Around the keys of references in a text; no text from a configuration keeps these characters.
_OPEN, _CLOSE = "\ue000", "\ue001"
_TIMES = "\N{MULTIPLICATION SIGN}"
_CITED = re.compile(f"{_OPEN}([^{_CLOSE}]*){_CLOSE}")


@dataclass(frozen=True, slots=True)
class Cited:
    """A piece of a text, and the references that stand behind it, by number and link."""

    text: str
    references: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Methods:
    """The methods section of a run.

    Attributes:
        paragraphs: With marks where a reference stands; see `plain`, `latex` and `pieces`.
    """

    paragraphs: tuple[str, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the references, in the order in which they are first named."""
        found = (key for text in self.paragraphs for key in _keys(text))
        return tuple(dict.fromkeys(found))

    def plain(self) -> str:
        """Return the text with numbered references below it."""
        numbers = {key: number for number, key in enumerate(self.keys, start=1)}
        texts = [
            _CITED.sub(lambda at: f" [{', '.join(str(numbers[k]) for k in at[1].split(','))}]", one)
            for one in self.paragraphs
        ]
        listed = [f"[{number}] {REFERENCES[key].text}" for key, number in numbers.items()]
        return "\n\n".join([*texts, "\n".join(listed)]) + "\n"

    def latex(self) -> str:
        r"""Return the text for `\input`, with `\cite` for the references of `bibtex`."""
        lines = [
            "% Generated from the configuration of the run; the references are in methods.bib.",
            r"% Needs \usepackage[T1]{fontenc}.",
        ]
        for paragraph in self.paragraphs:
            pieces = _CITED.split(paragraph)
            words = [
                f"~\\cite{{{piece}}}" if place % 2 else _typeset(piece)
                for place, piece in enumerate(pieces)
            ]
            lines += ["", "".join(words)]
        return "\n".join([*lines, ""])

    def bibtex(self) -> str:
        """Return the references as a BibTeX file."""
        return bibliography(self.keys)

    def pieces(self) -> list[list[Cited]]:
        """Return each paragraph in pieces, for a page with links."""
        numbers = {key: number for number, key in enumerate(self.keys, start=1)}
        found = []
        for paragraph in self.paragraphs:
            texts = _CITED.split(paragraph)
            cited = [
                tuple((numbers[key], REFERENCES[key].link) for key in keys.split(","))
                for keys in texts[1::2]
            ]
            found.append(
                [
                    Cited(text, of)
                    for text, of in zip(texts[::2], [*cited, ()], strict=True)
                    if text or of
                ]
            )
        return found

    def references(self) -> list[tuple[int, str, str]]:
        """Return number, text and link of each reference."""
        return [
            (number, REFERENCES[key].text, REFERENCES[key].link)
            for number, key in enumerate(self.keys, start=1)
        ]


@dataclass(frozen=True, slots=True)
class MethodFacts:
    """What a text says beyond the configuration.

    Attributes:
        classes: Names of the classes.
        images: Usable images of each split.
        mapped: Training images that get maps and masks.
        skipped: Images that were left out.
        classifier: The classifier; None if the run has none.
        thresholds: Of each recipe.
        networks: The segmentation networks, by the recipe that they learned from.
        precisions: Arithmetic of each recipe's network.
        versions: Of the programs that took part, by their names.
        commit: Of ws3; "" if it isn't known.
        has_intervals: Whether figures have intervals.
        checked_images: How many images the sanity checks looked at; 0 if nobody made them.
    """

    classes: Sequence[str]
    images: Mapping[str, int]
    mapped: int
    skipped: int = 0
    classifier: ClassifierFacts | None = None
    thresholds: Sequence[Threshold] = ()
    networks: Mapping[str, SegmentationFacts] = field(default_factory=dict)
    precisions: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    commit: str = ""
    has_intervals: bool = False
    checked_images: int = 0


def describe(config: RunConfig, facts: MethodFacts) -> Methods:
    """Return what a run did, in prose with numbers and references.

    Args:
        config: The run's configuration.
        facts: What was made of it.
    """
    paragraphs = [
        _data(config, facts),
        *([] if facts.classifier is None else [_classifier(config, facts.classifier)]),
        _recipes(config),
        _masks(config, facts),
        *([_segmentation(config, facts)] if config.segmentation_names else []),
        _evaluation(config, facts),
        _software(config, facts),
    ]
    return Methods(tuple(" ".join(" ".join(sentences).split()) for sentences in paragraphs))


def _cite(*keys: str) -> str:
    """Return the mark of some references; nothing of none."""
    known = [key for key in keys if key]
    return f"{_OPEN}{','.join(known)}{_CLOSE}" if known else ""


def _keys(text: str) -> Iterator[str]:
    for found in _CITED.finditer(text):
        yield from found[1].split(",")


def _said(value: object) -> str:
    """Return a value of a configuration as words, without marks of ours."""
    return str(value).replace(_OPEN, "").replace(_CLOSE, "")


def _typeset(text: str) -> str:
    """Return plain text as LaTeX, its signs of multiplication among it."""
    return r"$\times$".join(_escaped(part) for part in text.split(_TIMES))


def _escaped(text: str) -> str:
    """Return a part of a line as LaTeX, its outer blanks kept."""
    stripped = text.strip()
    if not stripped:
        return text
    start = text.index(stripped)
    return text[:start] + escaped(stripped) + text[start + len(stripped) :]


def _listed(items: Sequence[object]) -> str:
    """Return items as a list in a sentence.

    Example:
        >>> _listed([1, 2, 3])
        '1, 2 and 3'
    """
    words = [_said(item) for item in items]
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _share(value: float) -> str:
    return f"{100 * value:.3g} %"


_SPLITS: Mapping[str, str] = {"train": "training", "val": "validation"}


def _data(config: RunConfig, facts: MethodFacts) -> Iterator[str]:
    kinds: Mapping[str, tuple[str, str]] = {
        "voc": ("a dataset in the layout of Pascal VOC", ""),
        "coco": ("MS COCO", _cite("lin2014coco")),
        "synthetic": ("pictures of drawn creatures that ws3 makes", ""),
        "folder": ("a dataset of our own", ""),
    }
    kind = config.dataset.kind
    name, cited = kinds.get(kind, (f"the dataset {_said(kind)}", ""))
    if kind == "voc" and getattr(config.dataset, "classes", None) is None:
        name, cited = "Pascal VOC", _cite("everingham2010voc")
        if getattr(config.dataset, "train", "") == "trainaug":
            name += f"{cited} with the additional training images of SBD"
            cited = _cite("hariharan2011sbd")
    classes = _count(len(facts.classes), "class", "classes")
    if 0 < len(facts.classes) <= 20:
        classes += f" ({_listed(facts.classes)})"
    counted = [
        f"{number:,} {_SPLITS.get(split, _said(split))}"
        for split, number in facts.images.items()
        if number
    ]
    yield f"We use {name}{cited}, with {classes} and {_listed(counted)} images."
    if facts.skipped:
        was = "was" if facts.skipped == 1 else "were"
        yield f"{_count(facts.skipped, 'image')} {was} left out, as a file could not be used."
    uses = []
    background = config.masks.background
    if isinstance(background, TunedBackground):
        uses.append(
            f"the background threshold, which was tuned on masks of the {background.split} split"
        )
    if isinstance(config.segmentation.ignore_below, PrecisionCut):
        uses.append("the cut of the masks' confidence, which training images with masks chose")
    if config.segmentation.fully_supervised:
        uses.append("the fully supervised network, which is given as an upper bound")
    but = f", except by {', and by '.join(uses)}" if uses else ""
    yield f"Of the training images only image-level labels were used{but}."


_NETWORKS: Sequence[tuple[str, Callable[[re.Match[str]], str], str]] = (
    (r"resnet(\d+)", lambda m: f"ResNet-{m[1]}", "he2016resnet"),
    (
        r"vgg(\d+)(_bn)?",
        lambda m: f"VGG-{m[1]}{' with batch normalisation' if m[2] else ''}",
        "simonyan2015vgg",
    ),
    (r"densenet(\d+)", lambda m: f"DenseNet-{m[1]}", "huang2017densenet"),
    (r"mobilenet_v2", lambda _: "MobileNetV2", "sandler2018mobilenetv2"),
    (
        r"mobilenet_v3_(large|small)",
        lambda m: f"MobileNetV3-{m[1].capitalize()}",
        "howard2019mobilenetv3",
    ),
    (r"efficientnet_b(\d)", lambda m: f"EfficientNet-B{m[1]}", "tan2019efficientnet"),
    (r"convnext_(\w+)", lambda m: f"ConvNeXt-{m[1].capitalize()}", "liu2022convnext"),
    (r"vit_([blh])_(\d+)", lambda m: f"ViT-{m[1].upper()}/{m[2]}", "dosovitskiy2021vit"),
    (r"swin_([tsb])", lambda m: f"Swin-{m[1].upper()}", "liu2021swin"),
)


def network_title(architecture: str) -> str:
    """Return what to call a network of torchvision's or timm's, with marks of its references.

    Example:
        >>> network_title("resnet50").partition(chr(0xE000))[0]
        'ResNet-50'
    """
    for pattern, title, key in _NETWORKS:
        found = re.fullmatch(pattern, architecture)
        if found:
            return f"{title(found)}{_cite(key)}"
    if architecture.startswith(TIMM):
        name = architecture.removeprefix(TIMM)
        keys = ["oquab2023dinov2"] if "dinov2" in name else []
        keys = ["dosovitskiy2021vit", *keys] if name.startswith("vit_") else keys
        return f"{_said(name)} of timm{_cite(*keys, 'wightman2019timm')}"
    return _said(architecture)


def _start(weights: str | None) -> str:
    if weights is None:
        return "from random weights"
    if weights == "imagenet":
        return f"from weights trained on ImageNet{_cite('russakovsky2015imagenet')}"
    return f"from the weights of the file {_said(PurePath(weights).name)}"


def _classifier(config: RunConfig, made: ClassifierFacts) -> Iterator[str]:
    settings: ClassifierConfig = config.classifier
    network = f"{network_title(made.architecture)} as a multi-label classifier"
    side = made.input_size
    square = f"{side} {_TIMES} {side}"
    stride = (
        f" with an output stride of {made.output_stride}"
        if made.output_stride != OWN_STRIDE
        else ""
    )
    if made.texts is not None:
        background = len(made.texts.background)
        by_token = made.texts.pooling == "token"
        pooled = "the class token" if by_token else "the mean of the last patches"
        prompts = _listed([f"\u201c{prompt}\u201d" for prompt in made.texts.prompts])
        yield (
            f"As in CLIP-ES{_cite('lin2023clipes')}, nothing was trained: we took the image tower "
            f"of a CLIP, {made.architecture.removeprefix(OPEN_CLIP)}, for inputs of {square} "
            f"pixels, and compared {pooled} with its text tower's embeddings of the names of the "
            f"classes and of {_count(background, 'kind')} of background, in {prompts}; the "
            "log-odds of a class are against all others of these."
        )
    elif made.epochs is None:
        yield f"We took {network}{stride} for inputs of {square} pixels, trained beforehand."
    else:
        epochs = _count(made.epochs, "epoch")
        rate = f"{settings.learning_rate:g}"
        yield (
            f"We trained {network}{stride} {_start(settings.weights)} with the binary "
            f"cross-entropy, for {epochs} of batches of {settings.batch_size} images, with "
            f"AdamW{_cite('loshchilov2019adamw')} (weight decay {settings.weight_decay:g}) and one "
            f"cycle of the learning rate{_cite('smith2017super')}, which rises to {rate}"
            + (
                f" for the head and to {settings.learning_rate * settings.backbone_rate:g} for the "
                "backbone."
                if settings.train == "all" and 0 < settings.backbone_rate < 1
                else "."
            )
        )
        if settings.train == "head":
            yield (
                "Only the last layer was trained, on the features of each image and its mirror "
                f"image with a short side of {side} pixels."
            )
        else:
            if settings.backbone_rate == 0:
                yield "The backbone was kept as it was."
            low, high = settings.crop_area
            yield (
                f"Training images were cut at random to {_share(low)} to {_share(high)} of their "
                f"area, resized to {square} pixels, mirrored at random, and changed in "
                "brightness, contrast and saturation by up to 20 %."
            )
        if settings.label_smoothing:
            yield f"Labels were smoothed by {settings.label_smoothing:g}."
    if made.metrics.mean_ap is not None:
        yield (
            f"Its mean average precision is {_share(made.metrics.mean_ap)} on the "
            f"{made.metrics.split} split."
        )


_METHODS: Mapping[str, str] = {
    "cam": "class activation maps",
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "layercam": "LayerCAM",
    "gradient": "the gradient",
    "input_x_gradient": "input times gradient",
    "fullgrad": "FullGrad",
    "guided_backprop": "guided backpropagation",
    "attention_rollout": "attention rollout",
    "attention_relevance": "attention weighted by its gradients",
    "legrad": "LeGrad",
    "ag_cam": "Attention-Guided CAM",
    "lrp": "layer-wise relevance propagation",
    "integrated_gradients": "integrated gradients",
    "deeplift": "DeepLIFT with the rescale rule",
    "occlusion": "occlusion",
}


def _recipes(config: RunConfig) -> Iterator[str]:
    names = list(config.recipes)
    if len(names) > 1:
        yield (
            f"Score maps were made in {len(names)} ways"
            f"{_cite('maruf2023beyond') if _is_like_the_paper(config) else ''}."
        )
    for name, recipe in config.recipes.items():
        if recipe.imported is not None:
            kind = "masks" if recipe.imported.maps is None else "score maps"
            yield f"{name}: {kind} of another program, which were imported."
            continue
        if recipe.network is not None:
            yield (
                f"{name}: what the segmentation network that the masks of {recipe.network} trained "
                "makes of an image, the probability of each of its labels divided by the sum of "
                "theirs and the background's."
            )
            continue
        yield f"{name}: {_method(recipe)}, {_samples(config, name, recipe)}{_aggregated(recipe)}."


def _is_like_the_paper(config: RunConfig) -> bool:
    """Whether saliency maps are compared with CAMs, or averaged over random crops."""
    recipes = [recipe for recipe in config.recipes.values() if recipe.has_samples]
    methods = {recipe.method for recipe in recipes}
    crops = any(recipe.samples.kind == "crops" for recipe in recipes)
    return crops or {"cam", "gradient"} <= methods


def _method(recipe: Recipe) -> str:
    library, separator, of_library = recipe.method.partition(":")
    if separator and library == "grad_cam":
        words = f"{_said(of_library)} of pytorch-grad-cam{_cite('gildenblat2021gradcam')}"
    elif separator and library == "captum":
        words = f"{_said(of_library)} of Captum{_cite('kokhlikyan2020captum')}"
    elif recipe.method in OWN_METHODS:
        source = reference_of(OWN_METHODS[recipe.method].source)
        words = f"{_METHODS.get(recipe.method, recipe.method)}{_cite(source)}"
    else:
        words = f"the method {_said(recipe.method)}"
    entry = OWN_METHODS.get(recipe.method)
    target = "log-odds" if recipe.target == "log_odds" else "logit"
    options = recipe.options
    if recipe.method in ("gradient", "input_x_gradient") and not (
        options.get("stride") or options.get("layer")
    ):
        words += f" of the class's {target} with respect to the input"
    elif entry is None or recipe.method not in ("cam", "attention_rollout"):
        words += f" of the class's {target}"
    if recipe.target == "log_odds":
        words += " (its logit less the log-sum-exp of the other classes')"
    if entry is not None and entry.options in (LayerOptions, LayersOptions):
        words += _layers(options)
    if recipe.method == "integrated_gradients":
        words += f" in {options.get('steps', 32)} steps from the mean colour"
    if recipe.method == "lrp":
        words += f" by the rule {_said(options.get('rule', 'epsilon_plus'))}"
    if recipe.method == "occlusion":
        window, step = options.get("window", 0.125), options.get("stride", 0.0625)
        words += f" with a window of {_share(window)} of the input's side, in steps of "
        words += _share(step)
    if entry is not None and entry.reduces:
        channels = {
            "max": "the channels' maximum",
            "mean": "the channels' mean",
            "l2": "the channels' Euclidean norm",
            "sum": "the channels' sum",
            "net": "the channels' sum with their signs",
        }[recipe.reduce_channels]
        signs = "absolute values" if recipe.sign == "abs" else "positive values"
        words += f" ({channels}, {signs})"
    if recipe.smooth_relu is not None:
        words += (
            ", the step of every ReLU in the backward pass replaced by the derivative of a "
            f"softplus of sharpness {recipe.smooth_relu:g}"
        )
    if recipe.output_stride is not None:
        words += f", at an output stride of {recipe.output_stride} by dilation"
    return words


def _layers(options: Mapping[str, object]) -> str:
    """Return at which layers a method of CAM's family looks."""
    strides, layers = options.get("stride"), options.get("layer")
    if strides is None and layers is None:
        return ""
    found = layers if strides is None else strides
    many = found if isinstance(found, list | tuple) else [found]
    what = "layer" if strides is None else "last layer of stride"
    where = f" at the {what}{'s' if len(many) > 1 and strides is None else ''} {_listed(many)}"
    if len(many) > 1 and strides is not None:
        where = f" at the last layers of strides {_listed(many)}"
    fusion = {
        "sum": "added",
        "product": "multiplied",
        "geometric": "combined by their geometric mean",
    }.get(str(options.get("fusion", "sum")), "")
    return f"{where}, {fusion}" if len(many) > 1 and fusion else where


def _samples(config: RunConfig, name: str, recipe: Recipe) -> str:
    samples: Samples = recipe.samples
    aggregated = {"mean": "averaged over", "max": "the maximum over"}[
        recipe.aggregation.combine_samples
    ]
    size = f" at an input of {samples.input_size} pixels" if samples.input_size else ""
    adaptive = samples.adaptive
    number = (
        f"{samples.total}"
        if adaptive is None
        else f"at most {adaptive.max} (as many as bring the expected relative error of the mean "
        f"below {adaptive.tolerance:g})"
    )
    scales = _listed([f"{scale:g}" for scale in samples.scales])
    mirrored = " and their mirror images" if samples.flip else ""
    if samples.kind == "full":
        both = " and its mirror image" if samples.flip else ""
        words = f"{aggregated} the image{both}" if both else "taken of the image once"
    elif samples.kind == "scales":
        times = "time" if samples.scales == (1.0,) else "times"
        words = f"{aggregated} the image at {scales} {times} the network's input{mirrored}"
        words += _cite("ahn2018psa") if recipe.method == "cam" and len(samples.scales) > 1 else ""
    elif samples.kind == "sliding":
        words = (
            f"{aggregated} the windows that slide over the image at {scales} times the network's "
            f"input in steps of {_share(samples.step)} of their side{_cite('tursun2022sess')}"
        )
    elif samples.kind == "crops":
        low, high = samples.side
        words = (
            f"{aggregated} {number} random square crops of each image, their side {_share(low)} to "
            f"{_share(high)} of its short side{_cite('maruf2023beyond')}"
        )
    elif samples.kind == "noise":
        words = f"{aggregated} {number} noisy copies of each image"
    else:
        words = f"{aggregated} {number} copies of each image with hidden patches"
    if samples.noise is not None:
        words += (
            f", with Gaussian noise of standard deviation {samples.noise:g} (colours from 0 to "
            f"1){_cite('smilkov2017smoothgrad')}"
        )
    if samples.masking is not None:
        words += (
            f", in which squares of {_share(samples.masking.patch)} of the input's side are hidden "
            f"with a probability of {_share(samples.masking.share)}{_cite('singh2017hide')}"
        )
    if samples.kind in ("crops", "noise", "masking") and samples.flip:
        words += ", every second one mirrored"
    if samples.whole_image:
        sizes = _listed([f"{scale:g}" for scale in samples.whole_image])
        words += f", and the whole image at {sizes} times the network's input with mirror images"
    source = config.sample_source(name)
    shared = f" (the samples of {source})" if source != name else ""
    return words + size + shared


def _aggregated(recipe: Recipe) -> str:
    settings: Aggregation = recipe.aggregation
    words = []
    if settings.normalise_samples != "none":
        by = {"max": "maximum", "mean": "mean"}[settings.normalise_samples]
        words.append(f"each sample's map divided by its {by}")
    if settings.weight == "probability":
        words.append("weighted by the classifier's probability of the class")
    if settings.subtract_others:
        words.append(
            f"less {settings.subtract_others:g} times the strongest map of the image's other "
            "classes"
        )
    if settings.smoothing:
        words.append(
            f"smoothed by a Gaussian filter (standard deviation "
            f"{_share(settings.smoothing)} of the root of the image's area)"
        )
    walk = settings.random_walk
    if walk is not None:
        words.append(_walk(walk))
    peak = "maximum" if settings.percentile == 100 else f"{settings.percentile:g}th percentile"
    words.append(f"negative scores set to 0, and the {peak} of each map to 1")
    return "".join(f", {part}" for part in words)


def _walk(walk: RandomWalk) -> str:
    """Return how scores walk."""
    steps = f"refined by a random walk of {_count(walk.steps, 'step')}"
    if walk.affinity == "attention":
        blocks = "all blocks" if walk.blocks is None else f"the last {walk.blocks} blocks"
        balanced = ", made symmetric," if walk.sinkhorn else ""
        words = f"{steps} along the attention of {blocks}{balanced}{_cite('lin2023clipes')}"
    elif walk.affinity == "colour":
        alike = "colour" if walk.features is None else "colour and features"
        words = (
            f"{steps} between pixels of like {alike} within {walk.radius} cells of {walk.stride} "
            f"{_TIMES} {walk.stride} pixels, in the manner of affinity "
            f"networks{_cite('ahn2018psa', 'ahn2019irn')}"
        )
    else:
        words = f"{steps} between places of like features of {network_title(walk.affinity.network)}"
    if walk.box is not None:
        words += f" from within the boxes around what reaches {_share(walk.box)} of the maximum"
    return words


def _masks(config: RunConfig, facts: MethodFacts) -> Iterator[str]:
    background = config.masks.background
    if isinstance(background, PowerBackground):
        yield (
            "A pixel's background score is one less its largest score, to the power of "
            f"{background.alpha:g}{_cite('ahn2018psa')}; a pixel belongs to the class, or the "
            "background, that scores highest."
        )
    else:
        yield (
            "A pixel belongs to the class that scores highest, of those that its image is labelled "
            "with, and to the background where no score reaches a threshold."
        )
        chosen = [one for one in facts.thresholds if one.kind == background.kind]
        values = _listed(
            [f"{score:.3g} for {one.recipe}" for one in chosen if (score := one.score_of("masks"))]
        )
        given = f": {values}" if values else ""
        if isinstance(background, TunedBackground):
            counts = {one.images for one in chosen if one.images}
            of = f"{next(iter(counts)):,} " if len(counts) == 1 else ""
            yield (
                "The threshold of each recipe is the one of the highest mIoU of the score maps on "
                f"{of}{_SPLITS[background.split]} images with ground truth{given}."
            )
        elif isinstance(background, AutoBackground):
            yield (
                "The threshold of each recipe was chosen without ground truth, so that its maps "
                f"mark {_share(background.object_share)} of the training images{given}."
            )
        else:
            yield f"The threshold is {background.score:g} for all recipes."
    regions = config.masks.regions
    if regions is not None:
        if isinstance(regions, SlicRegions):
            kind = f"about {regions.number} superpixels (SLIC, compactness {regions.compactness:g})"
            kind += _cite("achanta2012slic")
        elif isinstance(regions, FelzenszwalbRegions):
            kind = f"the segments of a graph of its pixels (scale {regions.scale:g})"
            kind += _cite("felzenszwalb2004graph")
        else:
            kind = "segments of another program"
        vote = {"mean": "mean score", "share": "share of pixels"}.get(regions.vote, "")
        place = {
            "before_crf": ", before the CRF",
            "after_crf": ", after the CRF",
            "instead": "",
        }[regions.place]
        if vote:
            yield (
                f"Each image was divided into {kind}, whose pixels together take the class of the "
                f"highest {vote}{place}."
            )
        else:
            yield (
                f"Each image was divided into {kind}, and whole segments took the place of the "
                f"mask's objects by the rule of SEPL{_cite('chen2023sepl')}{place}."
            )
    crf = config.masks.crf
    has_crf = crf != "none" and not (regions is not None and regions.place == "instead")
    if has_crf:
        yield f"The result was refined with {_crf(crf)}."
    if config.masks.ignore_below:
        yield f"Pixels of a confidence below {config.masks.ignore_below:g} were ignored."
    yield f"Masks were made of {_count(facts.mapped, 'training image')}."


def _crf(crf: str | CrfParameters) -> str:
    numbers = crf if isinstance(crf, CrfParameters) else CRF_PRESETS[crf]
    origin = {"deeplab": "chen2018deeplab", "psa": "ahn2018psa", "irn": "ahn2019irn"}
    after = ""
    if isinstance(crf, str):
        names = {"deeplab": "DeepLab", "psa": "PSA", "irn": "IRNet"}
        after = f", in the numbers of {names[crf]}{_cite(origin[crf])}"
    unary = (
        f"hard labels with a certainty of {numbers.gt_prob:g}"
        if numbers.unary == "labels"
        else "the normalised scores"
    )
    return (
        f"a fully connected CRF{_cite('krahenbuhl2011crf')} (unary: {unary}; smoothness: standard "
        f"deviation {numbers.gaussian_sxy:g} pixels, weight {numbers.gaussian_compat:g}; "
        f"appearance: standard deviations {numbers.bilateral_sxy:g} pixels and "
        f"{numbers.bilateral_srgb:g} of 255 levels of colour, weight {numbers.bilateral_compat:g}; "
        f"{_count(numbers.iterations, 'iteration')} of mean-field inference{after})"
    )


_HEADS: Mapping[str, tuple[str, str]] = {
    "deeplabv3": ("DeepLabv3", "chen2017rethinking"),
    "fcn": ("FCN", "long2015fcn"),
    "lraspp": ("LR-ASPP", "howard2019mobilenetv3"),
}


def _segmentation(config: RunConfig, facts: MethodFacts) -> Iterator[str]:
    settings: Segmentation = config.segmentation
    head, _, backbone = settings.architecture.partition("_")
    network = _said(settings.architecture)
    if settings.architecture.startswith(SMP):
        title, encoder = smp_parts(settings.architecture)
        network = (
            f"{title} of segmentation_models_pytorch{_cite('iakubovskii2019smp')} with the encoder "
            f"{network_title(encoder)}"
        )
    elif head in _HEADS:
        title, key = _HEADS[head]
        network = f"{title}{_cite(key)} with a backbone of {network_title(backbone)}"
    start = (
        "from the run's classifier"
        if settings.weights == "classifier"
        else _start(settings.weights)
    )
    learned = _listed(settings.recipes)
    of = f"on the pseudo-masks of {learned}" if learned else "on ground truth"
    images = {network.images for network in facts.networks.values()}
    counted = f" ({_count(next(iter(images)), 'image')})" if len(images) == 1 else ""
    each = "A network each" if len(settings.recipes) > 1 else "A network"
    pretrained = settings.weights is not None
    batches = f"batches of {settings.batch_size}"
    if settings.accumulate > 1:
        batches += f", the gradients of {settings.accumulate} of which were averaged for each step"
    low, high = settings.scale_range
    yield (
        f"{each} was trained {of}{counted}: {network}, {start}, for "
        f"{_count(settings.epochs, 'epoch')} in {batches}, with SGD (momentum 0.9, weight decay "
        f"{settings.weight_decay:g}) and a learning rate of {settings.learning_rate:g} that falls "
        f"with the power 0.9 of the remaining steps{_cite('chen2018deeplab')}"
        + (
            ", ten times that for the head; gradients were clipped to a norm of 1."
            if pretrained
            else "."
        )
    )
    side = settings.crop_size
    yield (
        f"It saw random crops of {side} {_TIMES} {side} pixels of images "
        f"scaled by {low:g} to {high:g}, mirrored at random, and changed in brightness, contrast "
        "and saturation by up to 20 %."
    )
    cuts = {made.ignore_below for made in facts.networks.values()} - {None}
    if settings.uses_confidence and learned:
        if settings.ignore_below != 0:
            how = ""
            if isinstance(settings.ignore_below, PrecisionCut):
                share = _share(settings.ignore_below.precision)
                how = f", where {share} of the pixels kept are right on training images"
            at = f" ({_listed(sorted(f'{cut:.3g}' for cut in cuts))})" if cuts else ""
            yield (
                "Pixels of the masks whose confidence lies below a cut"
                f"{at}{how} were ignored in its training."
            )
        if settings.pixel_weights != "none":
            yield "Each pixel counted in the loss as much as it was confident."
    if settings.ema is not None:
        yield (
            f"The network is the moving average of its weights, with a decay of {settings.ema:g}"
            f"{_cite('polyak1992averaging')}."
        )
    sizes = _listed([f"{scale:g}" for scale in settings.test_scales])
    mirror = " and its mirror image" if settings.test_flip else ""
    if settings.test_scales != (1.0,):
        yield f"Its predictions are averages over the image at {sizes} times its size{mirror}."
    elif settings.test_flip:
        yield "Its predictions are averages over the image and its mirror image."
    if settings.crf != "none":
        yield f"They were refined with {_crf(settings.crf)}."
    if GROUND_TRUTH in config.segmentation_names and learned:
        yield "The same network was trained on ground truth, as an upper bound."


def _evaluation(config: RunConfig, facts: MethodFacts) -> Iterator[str]:
    splits = _listed(config.evaluation.splits)
    yield (
        f"Figures are of the {splits} {'split' if len(config.evaluation.splits) == 1 else 'splits'}"
        ": mIoU over the background and all classes, from pixels pooled over the images."
    )
    yield (
        "Recall is also given of the discriminative region, which is the part of the objects that "
        f"{config.reference_recipe} finds at its own threshold, and of the rest of the "
        f"objects{_cite('maruf2023beyond')}; the definitions are those of ws3."
    )
    if facts.has_intervals:
        yield (
            f"Intervals of 95 % are from {RESAMPLES:,} bootstrap samples of the "
            f"images{_cite('efron1979bootstrap')}."
        )
    if facts.checked_images:
        yield (
            f"On {_count(facts.checked_images, 'image')}, the maps were compared with those of "
            f"networks whose weights were shuffled from the last layer down"
            f"{_cite('adebayo2018sanity')}, and the class's probability was followed while pixels "
            f"were deleted, or inserted, in the order of the map{_cite('petsiuk2018rise')}."
        )


_PROGRAMS: Mapping[str, tuple[str, str]] = {
    "torch": ("PyTorch", "paszke2019pytorch"),
    "torchvision": ("torchvision", ""),
    "lightning": ("Lightning", ""),
    "timm": ("timm", "wightman2019timm"),
    "segmentation-models-pytorch": ("segmentation_models_pytorch", "iakubovskii2019smp"),
    "captum": ("Captum", "kokhlikyan2020captum"),
    "grad-cam": ("pytorch-grad-cam", "gildenblat2021gradcam"),
    "pydensecrf2": ("pydensecrf2", ""),
    "scikit-image": ("scikit-image", ""),
    "numpy": ("NumPy", "harris2020numpy"),
    "opencv-python-headless": ("OpenCV", ""),
    "zarr": ("Zarr", ""),
    "snakemake": ("Snakemake", "molder2021snakemake"),
}


def programs_of(config: RunConfig) -> list[str]:
    """Return the packages that compute what a run has, by their names on the package index."""
    methods = {recipe.method for recipe in config.recipes.values() if recipe.has_samples}
    captum = {"guided_backprop", "integrated_gradients", "deeplift", "lrp", "occlusion"}
    crfs = [config.masks.crf]
    if config.segmentation_names:
        crfs.append(config.segmentation.crf)
    regions = config.masks.regions
    used = {
        "timm": config.classifier.architecture.startswith(TIMM) and config.needs_classifier,
        "segmentation-models-pytorch": bool(config.segmentation_names)
        and config.segmentation.architecture.startswith(SMP),
        "captum": any(name in captum or name.startswith("captum:") for name in methods),
        "grad-cam": any(name.startswith("grad_cam:") for name in methods),
        "pydensecrf2": any(crf != "none" for crf in crfs),
        "scikit-image": isinstance(regions, SlicRegions | FelzenszwalbRegions),
        "lightning": bool(config.segmentation_names)
        or (
            config.needs_classifier
            and config.classifier.checkpoint is None
            and config.classifier.train != "text"
        ),
    }
    return [name for name in _PROGRAMS if used.get(name, True)]


def _software(config: RunConfig, facts: MethodFacts) -> Iterator[str]:
    version = facts.versions.get("ws3", "")
    commit = f", commit {facts.commit[:12]}" if facts.commit else ""
    named = [
        f"{title} {_said(facts.versions[name])}{_cite(key)}"
        for name, (title, key) in _PROGRAMS.items()
        if name in facts.versions
    ]
    yield f"Everything was computed by ws3 ({version}{commit})" + (
        f" with {_listed_cited(named)}." if named else "."
    )
    precisions = sorted(set(facts.precisions.values()))
    arithmetic = f", score maps in {_listed(precisions)}" if precisions else ""
    device = {"cpu": " on a CPU", "cuda": " on a GPU"}.get(config.device, "")
    yield (
        f"All random numbers start from the seed {config.seed}"
        f"{f'; networks ran{device}{arithmetic}' if device or arithmetic else ''}."
    )


def _listed_cited(items: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))


__all__ = ["Cited", "MethodFacts", "Methods", "describe", "network_title", "programs_of"]
