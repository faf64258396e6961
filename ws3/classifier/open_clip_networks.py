"""The image towers of open_clip's CLIPs as classifiers.

open_clip is optional: `pip install 'ws3-seg[clip]'`. It is imported when a configuration or a
checkpoint names one of its networks, `open_clip:NAME`, and not before.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ws3.classifier.log_odds import LogOdds
from ws3.classifier.model import Classifier
from ws3.classifier.tokens import Assembled, TokenBackbone, TokenHead, TokenMap, resampled
from ws3.config.classifier import OPEN_CLIP, Texts
from ws3.errors import Ws3Error
from ws3.messages import shown
from ws3.registry import optional_package

VISUAL = "visual."
"""What the names of the image tower's tensors begin with, here and in open_clip's files."""

# A text tower that is built only to be thrown away, as open_clip builds none without it.
_LEAST_TEXT = {"context_length": 2, "vocab_size": 2, "width": 2, "heads": 1, "layers": 1}

# What a plain CLIP with OpenAI's own tokens and a vision transformer consists of.
_PLAIN = {
    "": {"embed_dim", "quick_gelu", "vision_cfg", "text_cfg"},
    "vision_cfg": {
        *("image_size", "layers", "width", "head_width", "patch_size", "mlp_ratio"),
        "ls_init_value",
    },
    "text_cfg": {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"},
}


def build_open_clip(
    architecture: str, classes: Sequence[str], input_size: int, texts: Texts | None = None
) -> Classifier:
    """Return an untrained classifier with the image tower of a CLIP of open_clip's.

    The backbone is the tower up to the space that it shares with the texts; the head scales what is
    pooled of it to length 1, and a linear layer follows. open_clip's parameter names are kept, that
    layer is `fc`.

    Args:
        architecture: `open_clip:` and open_clip's name of a network, such as `open_clip:ViT-B-16`.
        classes: Class names.
        input_size: Side in pixels of the network's input.
        texts: What the linear layer is to be made of: it then has outputs for the background too,
            and the classifier's are log-odds over all of them. None: a layer to be trained, which
            sees the class token.

    Raises:
        Ws3Error: If open_clip isn't installed, has no such network, or its image tower is no vision
            transformer of its own.

    Example:
        >>> build_open_clip("open_clip:ViT-B-16", ("cat", "dog"), 224).mean  # doctest: +SKIP
        (0.48145466, 0.4578275, 0.40821073)
    """
    library, settings = _network(architecture)
    clip = library.CLIP(**{**settings, "text_cfg": _LEAST_TEXT})
    others = 0 if texts is None else len(texts.background)
    backbone = OpenClipTokens(clip.visual, by_token=texts is None or texts.pooling == "token")
    head: nn.Module = _Compared(
        nn.Linear(settings["embed_dim"], len(classes) + others), by_token=bool(backbone.readers)
    )
    whole = nn.Module()
    whole.visual, whole.fc = clip.visual, head.fc
    if texts is not None:
        whole.log_odds = LogOdds(len(classes), others)
        head = nn.Sequential(head, whole.log_odds)
    return Classifier(
        backbone,
        head,
        tuple(classes),
        tuple(library.OPENAI_DATASET_MEAN),
        tuple(library.OPENAI_DATASET_STD),
        input_size,
        architecture,
        Assembled(whole, backbone, head),
        texts=texts,
    )


def with_text_tower(architecture: str) -> nn.Module:
    """Return an untrained CLIP of open_clip's, both towers.

    Raises:
        Ws3Error: As `build_open_clip`.
    """
    library, settings = _network(architecture)
    clip: nn.Module = library.CLIP(**settings)
    return clip


def tokenised(architecture: str, sentences: Sequence[str]) -> Tensor:
    """Return CLIP's tokens (sentences, context length) of sentences.

    Raises:
        Ws3Error: If one is longer than the text tower's context.
    """
    library, settings = _network(architecture)
    length = settings["text_cfg"]["context_length"]
    tokenizer = library.SimpleTokenizer(context_length=length)
    for sentence in sentences:
        tokens = len(tokenizer.encode(sentence)) + 2  # where it begins and ends
        if tokens > length:
            raise Ws3Error(
                f"classifier.prompts: {shown(sentence)} has {tokens} tokens, and CLIP reads "
                f"{length}; shorten it"
            )
    return cast(Tensor, tokenizer(list(sentences)))


def mismatch(architecture: str, file: str) -> str:
    """Say what open_clip knows of weights by a file's name that doesn't go with a network.

    Args:
        architecture: `open_clip:` and open_clip's name of a network.
        file: A file's name.

    Returns:
        "" if it knows nothing, or all goes together.

    Example:
        >>> mismatch("open_clip:ViT-B-16", "vit_b_16.openai.safetensors")  # doctest: +SKIP
        'openai: its activation is QuickGELU; use open_clip:ViT-B-16-quickgelu'
    """
    library, settings = _network(architecture)
    name = architecture.removeprefix(OPEN_CLIP)
    base = name.removesuffix("-quickgelu")
    plain = file.lower().replace("-", "_")
    tags = [tag for tag in library.list_pretrained_tags_by_model(base) if tag in plain]
    if not tags:
        return ""
    tag = max(tags, key=len)
    known = library.pretrained.get_pretrained_cfg(base, tag)
    quick = bool(known.get("quick_gelu"))
    if quick != bool(settings.get("quick_gelu")):
        fitting = f"{base}-quickgelu" if quick else base
        activation = "QuickGELU" if quick else "GELU"
        return f"{tag}: its activation is {activation}; use {OPEN_CLIP}{fitting}"
    mean = tuple(known.get("mean") or library.OPENAI_DATASET_MEAN)
    if mean != tuple(library.OPENAI_DATASET_MEAN):
        return f"{tag}: it expects a mean colour of {mean}, and gets CLIP's; use other weights"
    return ""


def has_quick_gelu(architecture: str) -> bool:
    """Return whether the activation of a network is QuickGELU, as in OpenAI's CLIPs."""
    return bool(_network(architecture)[1].get("quick_gelu"))


def _open_clip(architecture: str) -> ModuleType:
    who = f"classifier.architecture: {architecture} is a network of open_clip's"
    return optional_package("open_clip", who, "clip")


def _network(architecture: str) -> tuple[ModuleType, dict[str, Any]]:
    """Return open_clip, and how it builds a network.

    Raises:
        Ws3Error: If it has none of that name, or one of another kind.
    """
    library = _open_clip(architecture)
    name = architecture.removeprefix(OPEN_CLIP)
    known = library.list_models()
    if name not in known:  # nor an address elsewhere, which open_clip would follow
        close = [f"{OPEN_CLIP}{one}" for one in difflib.get_close_matches(name, known, n=3)]
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise Ws3Error(
            f"classifier.architecture: open_clip {library.__version__} has no network "
            f"{shown(name)}{hint}"
        )
    settings: dict[str, Any] = library.get_model_config(name)
    if not _is_plain(settings):
        raise Ws3Error(
            f"classifier.architecture: {architecture} is not supported, as its towers are not "
            "those of OpenAI's CLIP with a vision transformer; choose another network, such as "
            f"{OPEN_CLIP}ViT-B-16"
        )
    return library, settings


def _is_plain(settings: Mapping[str, Any]) -> bool:
    parts = {"": settings, **{key: settings[key] for key in ("vision_cfg", "text_cfg")}}
    layers = settings["vision_cfg"].get("layers", 12)
    return isinstance(layers, int) and all(set(parts[key]) <= _PLAIN[key] for key in _PLAIN)


class OpenClipTokens(TokenBackbone):
    """An image tower of open_clip's, up to the space that it shares with the texts."""

    def __init__(self, tower: nn.Module, *, by_token: bool) -> None:
        """Share a tower.

        Args:
            tower: open_clip's `VisionTransformer`.
            by_token: Whether the class token classifies, and not the patches' mean.
        """
        patch: Any = tower.patch_size
        super().__init__(patch[0], 1, [0] if by_token else [])
        self.visual = tower

    @property
    def block_names(self) -> list[str]:
        """Names of the blocks."""
        blocks = self.visual.get_submodule("transformer.resblocks")
        return [f"visual.transformer.resblocks.{name}" for name, _ in blocks.named_children()]

    @property
    def first_norm(self) -> str:
        """The name of a block's first normalisation."""
        return "ln_1"

    def tokens(self, images: Tensor) -> Tensor:
        """Return the last tokens, projected."""
        tower: Any = self.visual
        patches = tower.conv1(images)
        grid = patches.shape[2], patches.shape[3]
        start = tower.class_embedding.expand(len(images), 1, -1)
        tokens = TokenMap(patches, start).tokens()
        tokens = tokens + resampled(tower.positional_embedding[None], 1, grid)
        encoded = tower.transformer(tower.ln_pre(tower.patch_dropout(tokens)))
        return cast(Tensor, tower.ln_post(encoded) @ tower.proj)


class _Compared(TokenHead):
    """From projected tokens to logits: scaled to length 1, then a linear layer."""

    def __init__(self, fc: nn.Linear, *, by_token: bool) -> None:
        super().__init__()
        self.fc = fc
        self.by_token = by_token

    def logits(self, tokens: Tensor) -> Tensor:
        """Return the logits."""
        pooled = tokens[:, 0] if self.by_token else tokens[:, 1:].mean(dim=1)
        return cast(Tensor, self.fc(functional.normalize(pooled, dim=1)))


@torch.no_grad()
def set_texts(classifier: Classifier, embeddings: Tensor, scale: Tensor) -> None:
    """Make a classifier's linear layer of texts, so that its logits are scaled cosines.

    Args:
        classifier: As `build_open_clip` returns it; changed in place.
        embeddings: (classes + background, F), each of length 1.
        scale: What CLIP multiplies cosines by, one number.
    """
    fc = classifier.network.get_submodule("fc")
    cast(Tensor, fc.weight).copy_(embeddings * scale)
    cast(Tensor, fc.bias).zero_()
