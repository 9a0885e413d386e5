"""A workload's parameters: a mapping as given, or a model that checked them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import yaml

from ..errors import PlanError
from ..redaction import learn, redacted

Model = TypeVar("Model")


class Parameters(Mapping[str, Any]):
    """The raw parameters; called with a pydantic model (or any class of keywords), the checked ones."""

    def __init__(
        self,
        values: Mapping[str, Any],
        source: str,
        places: Mapping[str, str],
        error: Callable[[str], BaseException] = PlanError,
        written: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """``places`` say where each parameter stands; ``error`` makes the exception for what is wrong with one.

        ``written`` is shown for those whose values came from variables, and may be secrets.
        """
        self._values = dict(values)
        self._written = written
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
        shown = {**self._values, **self._written}
        return f"Parameters({shown!r})"

    def __call__(self, model: Callable[..., Model]) -> Model:
        """Validate. Raises an error naming source, parameter and value, one line for each complaint."""
        for name in self._secret(model):
            learn(str(self._values[name]))
        try:
            checked = model(**self._values)
        except (TypeError, ValueError) as error:
            raise self._error(redacted("\n".join(self._complaints(error)))) from None
        for value in _secrets_in(checked):
            learn(value)
        return checked

    def _secret(self, model: Callable[..., Any]) -> list[str]:
        """The parameters that the model says are secrets."""
        fields: Mapping[str, Any] = getattr(model, "model_fields", {})
        return [name for name in self._values if "Secret" in repr(getattr(fields.get(name), "annotation", ""))]

    def _complaints(self, error: Exception) -> Iterator[str]:
        details: Callable[[], list[Mapping[str, Any]]] | None = getattr(error, "errors", None)
        if details is None:
            yield f"{self._source}: {error}"
            return
        for detail in details():
            where = ".".join(str(part) for part in detail["loc"])
            message, given = detail["msg"], repr(detail["input"])
            if where in self._written:  # a variable, which may be a secret
                given = self._written[where]
                message = message.replace(str(self._values.get(where)), given)
            shown = f", not {given}" if where in self._values else ""
            yield f"{self._places.get(where, self._source)}: parameter {where}: {message}{shown}"


def _secrets_in(checked: object) -> Iterator[str]:
    """The values of a checked model that hide themselves, as pydantic's SecretStr does."""
    for value in getattr(checked, "__dict__", {}).values():
        reveal = getattr(value, "get_secret_value", None)
        if reveal is None:
            yield from _secrets_in(value)
        else:
            yield str(reveal())


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
