"""What every part of the configuration shares: no unknown keys, no silent change of a value."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from ws3.messages import shown

Items = TypeVar("Items", bound=tuple[Any, ...])


class Section(BaseModel):
    """One block of the configuration: immutable; unknown keys, inf and nan are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class GrowingSection(Section):
    """A section whose newer keys are left out of its plain data where they have their default.

    What was fingerprinted before there was such a key then keeps its fingerprint.

    Attributes:
        newer: These keys.
    """

    newer: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _without_newer_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return self.plain(handler(self))

    def plain(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return plain data under the keys of a file, without unused newer keys."""
        fields = type(self).model_fields
        unused = {key for key in self.newer if getattr(self, key) == fields[key].default}
        return {fields[key].alias or key: value for key, value in data.items() if key not in unused}


def _refuse_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number is expected, not true or false")
    return value


def _refuse_reversed(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"the range starts at {value[0]}, above its end {value[1]}")
    return value


def _refuse_repeated(value: Items) -> Items:
    twice = [item for number, item in enumerate(value) if item in value[:number]]
    if twice:
        raise ValueError(f"{shown(twice[0])} is listed twice; list it once")
    return value


def _refuse_unknown_home(value: str) -> str:
    try:
        Path(value).expanduser()
    except RuntimeError:
        raise ValueError(f"{shown(value)}: there is no such user on this machine") from None
    return value


Folder = Annotated[str, AfterValidator(_refuse_unknown_home)]
"""A folder of the user's own; `~` stands for a home."""
Int = Annotated[int, BeforeValidator(_refuse_bool)]
Float = Annotated[float, BeforeValidator(_refuse_bool)]
Range = AfterValidator(_refuse_reversed)
Distinct = AfterValidator(_refuse_repeated)
Positive = Annotated[Float, Field(gt=0)]
Rate = Annotated[Float, Field(gt=0, le=100)]
"""A learning rate: beyond its bound every training diverges at once."""
