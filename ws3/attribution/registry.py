"""Attribution methods by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from ws3.attribution import cam, captum_methods, catalogue, gradients
from ws3.attribution.interface import Method
from ws3.errors import Ws3Error

_OWN: Mapping[str, Method] = {
    "cam": cam.cam,
    "gradcam": cam.gradcam,
    "gradcam++": cam.gradcam_plus_plus,
    "layercam": cam.layercam,
    "gradient": gradients.gradient,
    "input_x_gradient": gradients.input_x_gradient,
    "guided_backprop": captum_methods.guided_backprop,
    "integrated_gradients": captum_methods.integrated_gradients,
    "deeplift": captum_methods.deeplift,
    "occlusion": captum_methods.occlusion,
}

names = catalogue.names


def get(name: str) -> Method:
    """Return the method of that name.

    An installed package adds one through the entry-point group `ws3.methods`; the entry point is
    a `Method`.

    Raises:
        Ws3Error: If there is no such method, or the package that adds it can't be imported.
    """
    if name in _OWN:
        return _OWN[name]
    point = catalogue.plugins().get(name)
    if point is None:
        raise catalogue.unknown(name)
    try:
        return cast(Method, point.load())
    except (ImportError, AttributeError) as error:
        raise Ws3Error(
            f"the method {name} can't be imported from {point.value} ({error}); mend or remove "
            "the package that adds it"
        ) from error
