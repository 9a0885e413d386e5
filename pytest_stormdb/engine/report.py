"""What pgbench says when it has ended: its own counts, and what went wrong, with the script's file and line."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import ServerError, StormDBError, WorkloadError
from ..workload.pgbench import Pgbench
from ..workload.script import command_lines

_COUNTS = {
    "processed": re.compile(r"^number of transactions actually processed: (\d+)", re.MULTILINE),
    "failed": re.compile(r"^number of failed transactions: (\d+)", re.MULTILINE),
    "skipped": re.compile(r"^number of transactions skipped: (\d+)", re.MULTILINE),
    "retries": re.compile(r"^total number of retries: (\d+)", re.MULTILINE),
    "late": re.compile(r"^number of transactions above the \S+ ms latency limit: (\d+)", re.MULTILINE),
}
_MESSAGE = re.compile(r"^pgbench: (?:error|fatal): ", re.MULTILINE)
_OTHER = re.compile(r"^(?:pgbench: (?!error|fatal|detail|hint)|debug\(|setting random seed).*\n?", re.MULTILINE)
_LOCATED = re.compile(r"\bscript (?P<script>\d+)\b")
_COMMAND = re.compile(r"\bcommand (?P<command>\d+)\b")
_USELESS = ("Run was aborted",)
_SERVER = re.compile(
    r"connection to server|could not create connection|server closed|backend died|terminating connection"
)
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Counts:
    """pgbench's own counts; what it does not print is 0."""

    processed: int = 0
    failed: int = 0
    skipped: int = 0
    retries: int = 0
    late: int = 0

    @property
    def total(self) -> int:
        """All that it logs."""
        return self.processed + self.failed + self.skipped


def counts_in(output: str) -> Counts | None:
    """The counts in pgbench's closing report; None where there is no report."""
    found = {name: match for name, pattern in _COUNTS.items() if (match := pattern.search(output))}
    return Counts(**{name: int(match[1]) for name, match in found.items()}) if "processed" in found else None


def has_errors(text: str) -> bool:
    """Whether pgbench complained: what scripts print by ``debug()`` is no complaint."""
    return _MESSAGE.search(text) is not None


def error_in(text: str, description: Pgbench) -> StormDBError:
    """The first complaint in what pgbench wrote to stderr, in its own words, with the place in the script."""
    messages = [message.strip() for message in _MESSAGE.split(_OTHER.sub("", text))[1:]]
    messages = [message for message in messages if not message.startswith(_USELESS)]
    first = next((index for index, message in enumerate(messages) if _LOCATED.search(message)), None)
    told = messages[: first + 1] if first is not None else messages[:_SHOWN]
    if not told:
        told = [text.strip()[-500:] or "it gave no reason"]
    between = "\n" if any("\n" in message for message in told) else "; "
    words = _by_their_names(f"pgbench: {between.join(told)}", description)
    kind = ServerError if _SERVER.search(words) else WorkloadError
    return kind(words + _place(told[-1], description))


def _by_their_names(words: str, description: Pgbench) -> str:
    """The words with files in the place of our copies of them."""
    for script in description.scripts:
        if script.copy is not None:
            words = words.replace(str(script.copy), str(script.path))
    return words


def _place(message: str, description: Pgbench) -> str:
    """The file and the line of the command that a message names by numbers."""
    script, command = _LOCATED.search(message), _COMMAND.search(message)
    if script is None or command is None or int(script["script"]) >= len(description.scripts):
        return ""
    found = description.scripts[int(script["script"])]
    if found.path is None:
        return f"\nin builtin {found.name}"
    content = found.path.read_bytes() if found.content is None else found.content
    lines = command_lines(content.decode("utf-8", "replace"))
    number = int(command["command"])
    return f"\nat {found.path}:{lines[number]}" if number < len(lines) else f"\nin {found.path}"
