"""A workload's parameters: a mapping as given, or a model that checked them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import yaml

from ..errors import PlanError

Model = TypeVar("Model")


class Parameters(Mapping[str, Any]):
    """The raw parameters; called with a pydantic model (or any class of keywords), the checked ones."""

    def __init__(
        self,
        values: Mapping[str, Any],
        source: str,
        places: Mapping[str, str],
        error: Callable[[str], BaseException] = PlanError,
    ) -> None:
        """``places`` say where each parameter stands; ``error`` makes the exception for what is wrong with one."""
        self._values = dict(values)
        self._source = source
        self._places = places
        self._error = error

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Parameters({self._values!r})"

    def __call__(self, model: Callable[..., Model]) -> Model:
        """Validate. Raises an error naming source, parameter and value, one line for each complaint."""
        try:
            return model(**self._values)
        except (TypeError, ValueError) as error:
            raise self._error("\n".join(self._complaints(error))) from None

    def _complaints(self, error: Exception) -> Iterator[str]:
        details: Callable[[], list[Mapping[str, Any]]] | None = getattr(error, "errors", None)
        if details is None:
            yield f"{self._source}: {error}"
            return
        for detail in details():
            where = ".".join(str(part) for part in detail["loc"])
            given = f", not {detail['input']!r}" if where in self._values else ""
            yield f"{self._places.get(where, self._source)}: parameter {where}: {detail['msg']}{given}"


def parse_parameters(pairs: Iterable[str]) -> dict[str, Any]:
    """``KEY=VALUE`` pairs, the values read as YAML scalars: ``scale=10`` is a number. Raises PlanError."""
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.strip():
            raise PlanError(f"--stormdb-param: {pair!r} is not KEY=VALUE")
        try:
            values[name.strip()] = yaml.safe_load(text)
        except yaml.YAMLError:
            values[name.strip()] = text
    return values
