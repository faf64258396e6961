"""Multi-scale CAM of an image, one thread, against pytorch-grad-cam used as its README says.

`python benchmarks/cam.py` takes about two minutes. Both sides get the same network and the same
eight inputs, four scales of a photograph's size and their mirror images, one after the other, and
give the average of the maps at the photograph's size. Grad-CAM of the last layer before pooling and
one linear layer is CAM up to a factor, so the maps are compared, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from measuring import entry, fastest_apart, report

NETWORKS = ("mobilenet_v2", "resnet50")
HEIGHT, WIDTH, CLASS = 375, 500, 3


def photograph() -> Any:
    """Return smooth noise of a photograph's size, uint8 RGB."""
    import cv2
    import numpy as np

    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 3)


def classifier_of(name: str) -> Any:
    """Return an untrained classifier, the same in both processes."""
    import torch

    from ws3.classifier.build import build_classifier

    torch.set_num_threads(1)
    torch.manual_seed(0)
    return build_classifier(name, tuple(f"class {i}" for i in range(10)), 224)


def ws3(name: str) -> Mapping[str, Callable[[], Any]]:
    """Set up the process as `ws3 saliency` does."""
    from ws3.cli.memory import keep_freed_memory

    keep_freed_memory()
    from ws3.attribution.scorer import Scorer

    scorer, image = Scorer(classifier_of(name), "cam_multiscale"), photograph()
    return {"ws3": lambda: scorer.maps(image, [CLASS])}


def grad_cam(name: str) -> Mapping[str, Callable[[], Any]]:
    """Set up pytorch-grad-cam as its README does."""
    import cv2
    import numpy as np
    import torch
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    from ws3.config.load import resolve_recipe
    from ws3.sampling.plan import SamplePlan

    classifier, image = classifier_of(name), photograph()
    recipe = resolve_recipe({"preset": "cam_multiscale"}, "the recipe")
    place: dict[str, Any] = {"image": "i", "height": HEIGHT, "width": WIDTH, "seed": 0}
    plan = SamplePlan(recipe.samples, **place, recipe="r", input_size=224)
    samples = [plan.sample(number) for number in range(plan.total)]
    network = classifier.network.eval()
    layers = [next(iter(network.children())) if name == "mobilenet_v2" else network.layer4]
    cam = GradCAM(model=network, target_layers=layers)
    mean, std = (np.array(values, np.float32) for values in (classifier.mean, classifier.std))

    def run() -> Any:
        total = np.zeros((HEIGHT, WIDTH), np.float32)
        for sample in samples:
            pixels = cv2.resize(image, (sample.width, sample.height)).astype(np.float32) / 255
            pixels = pixels[:, ::-1] if sample.flip else pixels
            normal = np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1))
            found = cam(
                input_tensor=torch.from_numpy(normal)[None], targets=[ClassifierOutputTarget(CLASS)]
            )[0]
            found = found[:, ::-1] if sample.flip else found
            total += cv2.resize(np.ascontiguousarray(found), (WIDTH, HEIGHT))
        return total / len(samples)

    return {"grad-cam": run}


def main() -> None:
    """Measure and report."""
    import numpy as np

    entries = []
    for name in NETWORKS:
        ours = ws3(name)["ws3"]()[0].astype(np.float32)
        theirs = grad_cam(name)["grad-cam"]()
        alike = float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1])
        times = fastest_apart({"grad-cam": partial(grad_cam, name), "ws3": partial(ws3, name)})
        title = f"multi-scale CAM, {name}, four scales and mirrored (maps correlate by {alike:.3f})"
        rates = 1 / times["ws3"], 1 / times["grad-cam"]
        unit = "images per CPU-second"
        entries.append(entry(title, *rates, rates[0] / rates[1], None, unit))
    report("cam", entries)


if __name__ == "__main__":
    main()
