"""What an option is: its name, how its value is written, and where it may be said."""

from __future__ import annotations

import enum
from typing import Any, Final, Literal, NamedTuple

from .values import Kind


class NotGiven(enum.Enum):
    """What a source says of an option that it does not name: neither None nor empty, which somebody may have said."""

    NOT_GIVEN = "not given"


NOT_GIVEN: Final = NotGiven.NOT_GIVEN

Scope = Literal["plan", "item", "session"]


class Said(enum.Flag):
    """Where an option may be said."""

    MARK = enum.auto()
    COMMAND_LINE = enum.auto()
    INI = enum.auto()
    FILE = enum.auto()


class Option(NamedTuple):
    """One option. ``help`` is Markdown; ``default`` is written as a user would; ``aliases`` are its names in files."""

    name: str
    kind: Kind
    said: Said
    help: str
    default: object = NOT_GIVEN
    metavar: str | None = None
    scope: Scope = "session"
    aliases: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        return f"--stormdb-{self.name.replace('_', '-')}"

    @property
    def key(self) -> str:
        """Its ini key, which is its name among pytest's options as well."""
        return f"stormdb_{self.name}"

    @property
    def plain_help(self) -> str:
        return self.help.replace("`", "")

    @property
    def field(self) -> str:
        """Its name in a load plan, which ends in the unit of its value."""
        return f"{self.name}_{self.kind.unit}" if self.kind.unit else self.name

    def parse(self, value: object, what: str | None = None) -> Any:
        """The value as it is used. Raises PlanError with a sentence that begins with ``what``, else with the name."""
        return self.kind.read(value, what or self.name)

    @property
    def parsed_default(self) -> Any:
        return NOT_GIVEN if self.default is NOT_GIVEN else self.parse(self.default)

    def recorded(self, value: Any) -> tuple[str, Any]:
        """Key and value of the record, in seconds where the parsed value is in nanoseconds."""
        if self.kind.unit != "ns":
            return self.field, value
        if isinstance(value, tuple):
            return f"{self.name}_s", [bound / 1e9 for bound in value]
        return f"{self.name}_s", None if value is None else value / 1e9
