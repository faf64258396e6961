"""Random streams that depend on what is sampled and on nothing else."""

from __future__ import annotations

import hashlib

import numpy as np


def stream(seed: int, recipe: str, image: str, number: int, purpose: str) -> np.random.Generator:
    """Return the random stream of one sample's one purpose.

    The stream is a counter-based generator (Philox, Salmon et al. 2011) keyed by a hash of its
    arguments, so neither the batch, the process nor the number of samples changes what it yields.

    Args:
        seed: The run's seed.
        recipe: The recipe's name.
        image: The image's id.
        number: The sample's number; by convention -1 for what all samples of the image share.
        purpose: What is drawn, such as "noise".
    """
    text = "\0".join((str(seed), recipe, image, str(number), purpose))
    key = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(key, np.uint64)))
