"""Records in the hot path: instances of frozen dataclasses, made at the price of ordinary ones.

A frozen dataclass sets each field by a call, because its own assignment is closed: that is 2 µs for a header, as much
as all the rest that is done with a small message. What is made here is the same in every respect: class, fields,
equality, and that it cannot be changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, fields, make_dataclass
from typing import Any, TypeVar

T = TypeVar("T")


def maker(kind: type[T]) -> Callable[..., T]:
    """Return what makes instances of a slotted dataclass from its fields, by position and in their order.

    The class's own ``__init__`` does not run, nor a ``__post_init__``.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True, slots=True, kw_only=True)
    ... class Point:
    ...     x_m: float
    ...     y_m: float = 0.0
    >>> new_point = maker(Point)
    >>> new_point(3.0) == Point(x_m=3.0)
    True
    """
    # The same slots, in a class of its own that can be assigned to: such an instance may become one of the other class.
    draft = make_dataclass(
        f"{kind.__name__}Draft",
        [
            (one.name, Any, field(default=one.default, default_factory=one.default_factory))
            for one in fields(kind)  # type: ignore[arg-type]
        ],
        slots=True,
    )

    def make(*values: Any) -> T:
        made: Any = draft(*values)
        made.__class__ = kind
        return made  # type: ignore[no-any-return]

    return make
