"""Names, options, channels, precision: what surrounds the methods."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
import torch
from pydantic import Field

from ws3.attribution.channels import reduce_channels
from ws3.attribution.interface import load_method
from ws3.config.methods import (
    METHODS,
    OWN_METHODS,
    MethodEntry,
    check_method,
    method_entry,
    method_options,
)
from ws3.config.model import Section
from ws3.config.recipes import Recipe
from ws3.errors import Ws3Error
from ws3.torch_setup import arithmetic


def test_every_listed_method_can_be_got_and_nothing_else() -> None:
    for name in OWN_METHODS:
        assert list(METHODS).count(name) == 1
        assert callable(method_entry(name).load())
    assert set(METHODS) == set(OWN_METHODS)


def test_listing_and_checking_import_no_torch() -> None:
    code = (
        "import sys; from ws3.config.methods import METHODS, check_method; list(METHODS); "
        "from ws3.config.recipes import Recipe; "
        "check_method(Recipe(method='occlusion', options={'window': 0.5})); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("grad_cam", {}, "no method 'grad_cam'; did you mean gradcam.* choose from: cam, "),
        ("zzz", {}, "no method 'zzz'; choose from: cam, "),
        ("gradient", {"steps": 3}, "gradient has no option 'steps'; it has: stride"),
        ("occlusion", {"size": 3}, "no option 'size'; it has: window, stride"),
        ("integrated_gradients", {"steps": 0}, "is 0, but must be a whole number from 1 to 1000"),
        ("integrated_gradients", {"steps": 2.0}, "is 2.0, but must be a whole number"),
        ("integrated_gradients", {"steps": True}, "is True, but must be a whole number"),
        ("occlusion", {"window": "big"}, "is 'big', but must be a number from 0.01 to 1.0"),
        ("occlusion", {"window": float("nan")}, "is nan, but must be a number"),
    ],
)
def test_mistakes_are_explained(method: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(Ws3Error, match=message):
        check_method(Recipe(method=method, options=options))
    if method not in OWN_METHODS:
        with pytest.raises(Ws3Error, match=message):
            method_entry(method)


def test_options_are_completed() -> None:
    occlusion, cam = method_entry("occlusion"), method_entry("cam")
    completed = method_options("occlusion", occlusion, {"window": 1})
    assert completed == {"window": 1, "stride": 0.0625}
    assert method_options("cam", cam, {}) == {}


class _Power(Section):
    power: float = Field(1.0, gt=0)


def plain(network, inputs, classes, options):
    """A map of nothing.

    More about it.
    """


DESCRIBED = MethodEntry("a map", "us", plain, log_odds=False, options=_Power)


def test_an_installed_package_adds_a_method(monkeypatch: pytest.MonkeyPatch) -> None:
    here = "test_attribution_catalogue"
    points = [
        EntryPoint("mine", "ws3.attribution.cam:layercam", METHODS.group),
        EntryPoint("plain", f"{here}:plain", METHODS.group),
        EntryPoint("described", f"{here}:DESCRIBED", METHODS.group),
        EntryPoint("cam", "ws3.attribution.cam:layercam", METHODS.group),
        EntryPoint("broken", "nowhere_at_all:method", METHODS.group),
    ]
    monkeypatch.setattr("ws3.registry.entry_points", lambda group: points)
    monkeypatch.setitem(sys.modules, here, sys.modules[__name__])
    assert list(METHODS)[-4:] == ["broken", "described", "mine", "plain"]
    check_method(Recipe(method="mine", options={"anything": 1}))
    assert method_entry("mine").load() is method_entry("layercam").load()
    assert method_entry("cam").load() is not method_entry("layercam").load()
    with pytest.raises(Ws3Error, match="broken can't be imported from nowhere_at_all:method"):
        method_entry("broken")
    assert method_entry("plain").summary == "A map of nothing."
    function, options = load_method(Recipe(method="plain", options={"anything": 1}))
    assert (function, options.values) == (plain, {"anything": 1})
    assert load_method(Recipe(method="described"))[1].values == {"power": 1.0}
    for recipe, message in (
        ({"options": {"power": 0}}, "the option power of the method described is 0, but input sh"),
        ({"options": {"powr": 1}}, "described has no option 'powr'; it has: power"),
        ({"target": "log_odds"}, "the method described has no target: log_odds; these have it"),
    ):
        with pytest.raises(Ws3Error, match=message):
            load_method(Recipe(method="described", **recipe))


@pytest.mark.parametrize(
    ("reduction", "sign", "expected"),
    [
        ("max", "abs", 4.0),
        ("max", "positive", 3.0),
        ("mean", "abs", 7 / 3),
        ("mean", "positive", 1.0),
        ("l2", "abs", 5.0),
        ("l2", "positive", 3.0),
        ("sum", "abs", 7.0),
        ("sum", "positive", 3.0),
    ],
)
def test_channels_by_hand(reduction, sign, expected) -> None:
    values = torch.tensor([3.0, -4.0, 0.0], dtype=torch.float64).view(1, 3, 1, 1)
    found = reduce_channels(values, reduction, sign)
    assert found.shape == (1, 1, 1)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected)


def test_arithmetic_is_set_and_put_back() -> None:
    def state() -> tuple[object, ...]:
        return (
            torch.backends.cuda.matmul.fp32_precision,
            torch.backends.cudnn.conv.fp32_precision,  # type: ignore[attr-defined]
            torch.backends.cudnn.rnn.fp32_precision,  # type: ignore[attr-defined]
        )

    before = state()
    cpu = torch.device("cpu")
    layer, images = torch.nn.Conv2d(3, 2, 3), torch.randn(1, 3, 8, 8)
    for precision, expected, dtype in (
        ("fp32", "ieee", torch.float32),
        ("tf32", "tf32", torch.float32),
        ("bf16", "ieee", torch.bfloat16),
    ):
        with arithmetic(precision, cpu):  # type: ignore[arg-type]
            assert state() == (expected,) * 3
            assert layer(images).dtype == dtype
        assert state() == before
    with pytest.raises(ValueError, match="inside"), arithmetic("tf32", cpu):
        raise ValueError("inside")
    assert state() == before
    assert torch.backends.cudnn.allow_tf32 in (True, False)  # torch refuses a half-set state
