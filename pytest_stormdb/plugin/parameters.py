"""Parameters whose complaints are a test's error, without our frames."""

from __future__ import annotations

from collections.abc import Callable

from ..parameters import Model, Parameters
from .state import told


class ToldParameters(Parameters):
    """The raw parameters of a workload, as fixtures get them."""

    def __call__(self, model: Callable[..., Model]) -> Model:
        with told():
            return super().__call__(model)
        raise AssertionError("told() raises what it catches")
