"""What an option is: its name, how its value is written, and where it may be said."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from typing import Literal

    IniType = Literal["string", "int", "bool", "linelist"]

    Said = frozenset[Literal["mark", "command line", "ini file", "file"]]
    Scope = Literal["plan", "item", "session"]


class NotGiven:
    """What a source says of an option that it does not name: neither None nor empty, which somebody may have said.

    There is one, in other processes too.
    """

    def __repr__(self) -> str:
        return "NOT_GIVEN"

    __reduce__ = __repr__


NOT_GIVEN: Final = NotGiven()

MARK: Final[Said] = frozenset({"mark"})
COMMAND_LINE: Final[Said] = frozenset({"command line"})
INI: Final[Said] = frozenset({"ini file"})
FILE: Final[Said] = frozenset({"file"})
"""Where an option may be said."""


MAX_WORKERS = 10_000
"""More than any PostgreSQL serves; a number above it is a typing error."""


class Kind:
    """A kind of value. ``expects`` completes the sentence "must be ...".

    ``reader`` names the function that reads it: every suite has the table of options, few give one, and what reads
    them is imported then. ``arguments`` are what that takes beside the value; ``words`` the only ones allowed where
    there are such. ``unit`` of what is read ends the names of fields that hold it (``ns``, ``per_s``). ``ini`` is
    pytest's type of an ini key. A path is relative to the file that says it, or to where the command was given.

    Not a dataclass, nor a named tuple, as `Option` is not: every suite makes these classes, and those take it ten
    times as long.
    """

    def __init__(
        self,
        reader: str,
        expects: str,
        unit: str = "",
        ini: IniType = "string",
        arguments: tuple[Any, ...] = (),
        *,
        is_path: bool = False,
    ) -> None:
        self._reader, self._arguments = reader, arguments
        self.expects, self.unit, self.ini, self.is_path = expects, unit, ini, is_path
        self.words: tuple[str, ...] = arguments if reader == _WORD else ()

    def read(self, value: object, what: str) -> Any:
        """The value as it is used. Raises PlanError with a sentence that begins with ``what``."""
        module, _, function = self._reader.rpartition(".")
        return getattr(import_module(module, __package__), function)(value, what, *self._arguments)


_WORD = ".values.parse_word"


def whole_number(low: int | None = None, high: int | None = None) -> Kind:
    """A whole number between its bounds, both included, as a number or as text."""
    return Kind(".values.parse_whole", f"a whole number{span(low, high)}", ini="int", arguments=(low, high))


def number_or(word: str, low: int, high: int) -> Kind:
    """A whole number, or a word that leaves it open, which is read as None."""
    expects = f"a whole number{span(low, high)}, or {word}"
    return Kind(".values.parse_whole_or", expects, arguments=(word, low, high))


def choice(*words: str) -> Kind:
    """One of a few words."""
    return Kind(_WORD, f"one of {', '.join(words)}", arguments=words)


def span(low: int | None, high: int | None) -> str:
    """The bounds of a whole number, in words."""
    if high is not None:
        return f" from {low} to {high}"
    return f" of {low} or more" if low is not None else ""


_DURATIONS = "such as '500ms', '30s', '5m' or '1h'"
RATIO = Kind(".values.parse_ratio_above_zero", "a share such as '10%' or '0.1'")
DURATION = Kind("..units.parse_duration_ns", f"a duration {_DURATIONS}", "ns")
POSITIVE_DURATION = Kind(".values.parse_positive_duration_ns", f"a duration above zero {_DURATIONS}", "ns")
DURATION_RANGE = Kind(
    ".values.parse_duration_range_ns", f"a duration {_DURATIONS}, or a range such as '10ms..50ms'", "ns"
)
RATE = Kind("..units.parse_rate_per_s", "a rate above zero such as '1000/s', '60/m', or a number per second", "per_s")
FLAG = Kind(".values.parse_flag", "true or false", ini="bool")
TEXT = Kind(".values.parse_text", "text")
LINES = Kind(".values.parse_lines", "a list of text", ini="linelist")
PATH = Kind(".values.parse_text", "a path", is_path=True)
PATHS = Kind(".values.parse_lines", "a list of paths", ini="linelist", is_path=True)
ADDRESS = Kind(".values.parse_address", "[HOST:]PORT")
STAGES = Kind(".stages.parse_stages", "stages such as '10:30s,10->50:30s' of workers or '100/s->500/s:1m' of rates")
SWEEP = Kind(".sweep.parse_sweep", "worker counts such as '1,2,4,8', 'linear:1..32:4' or 'doubling:1..64'")
ARM = Kind(".values.parse_arm", "another arm: 'dsn:postgresql://...' or 'git:main'")
KEPT = Kind(".values.parse_kept", "a name")


class Option:
    """One option. ``help`` is Markdown; ``default`` is written as a user would; ``aliases`` are its names in files."""

    def __init__(
        self,
        name: str,
        kind: Kind,
        said: Said,
        help: str,
        default: object = NOT_GIVEN,
        metavar: str | None = None,
        scope: Scope = "session",
        aliases: tuple[str, ...] = (),
    ) -> None:
        self.name, self.kind, self.said, self.help = name, kind, said, help
        self.default, self.metavar, self.scope, self.aliases = default, metavar, scope, aliases

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
