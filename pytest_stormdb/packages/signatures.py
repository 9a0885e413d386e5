"""OpenPGP signatures, checked with the keys of one file and no others.

The program gpg is needed only where a signature is to be checked. gpg runs in a fresh home of its own,
so that neither the user's keys nor the user's trust settings have a say: the given keys are trusted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import PlanError
from ..realtime import time

SignatureState = Literal[
    "signed",
    "unsigned",
    "bad",
    "expired-signature",
    "expired-key",
    "revoked-key",
    "unknown-key",
    "weak",
    "future",
    "unavailable",
]

_STRONG_DIGESTS = frozenset(("8", "9", "10", "11", "12", "14"))
"""SHA-2 and SHA-3, by their numbers in RFC 9580, section 9.5; MD5, SHA-1 and RIPEMD-160 can be forged or nearly so."""

_CLOCKS_DIFFER_S = 300

_OPTIONS = ["--no-autostart", "--no-auto-key-retrieve", "--no-auto-key-import", "--disable-dirmngr"]
_PREFIX = "[GNUPG:] "
_STATE_OF: dict[str, SignatureState] = {
    "BADSIG": "bad",
    "EXPSIG": "expired-signature",
    "EXPKEYSIG": "expired-key",
    "REVKEYSIG": "revoked-key",
    "GOODSIG": "signed",
}


@dataclass(frozen=True)
class Signature:
    """What is known of a signature; `fingerprint` is the primary key's, or the key id where that is all."""

    state: SignatureState
    fingerprint: str = ""
    uid: str = ""
    detail: str = ""

    @property
    def is_valid(self) -> bool:
        return self.state == "signed"

    def __str__(self) -> str:
        who = f"{self.uid} ({self.fingerprint})" if self.uid else self.fingerprint
        return {
            "signed": f"signed by {who}",
            "unsigned": "not signed",
            "bad": f"the signature is wrong: {self.detail or f'{who} did not sign these contents'}",
            "expired-signature": f"the signature by {who} has expired",
            "expired-key": f"signed with a key that has expired: {who}",
            "revoked-key": f"signed with a key that was revoked: {who}",
            "weak": f"the signature by {who} rests on a weak digest, not SHA-2 or SHA-3; it must be made anew",
            "future": f"the signature by {who} is dated in the future; a clock is wrong, or it was forged",
            "unknown-key": f"signed with a key that is not in the keyring: {who}",
            "unavailable": f"signatures cannot be checked: {self.detail}",
        }[self.state]


def check_signature(content: bytes, signature: bytes | None, keyring: Path) -> Signature:
    """Checks a detached signature (armored or binary) over `content` with the public keys in `keyring`.

    The keyring is a file of exported keys, armored or binary, or a keyring of gpg's. PlanError if it is not.
    """
    keys = _keys(keyring)
    if signature is None:
        return Signature("unsigned")
    program = shutil.which("gpg")
    if program is None:
        return Signature("unavailable", detail="gpg is not installed")
    with tempfile.TemporaryDirectory(prefix="stormdb-gpg-", ignore_cleanup_errors=True) as home:
        gpg = Gpg(program, Path(home))
        gpg.learn(keys, keyring)
        unchecked = Path(home, "signature")
        unchecked.write_bytes(signature)
        return _judged(gpg.statuses("--verify", str(unchecked), "-", content=content))


@dataclass(frozen=True, slots=True)
class Gpg:
    """The program gpg in a home of its own, asked by its machine-readable status lines."""

    program: str
    home: Path

    def learn(self, keys: bytes, keyring: Path) -> None:
        """Take the public keys of a file into the home. Raises PlanError if it holds none."""
        if keys[8:12] == b"KBXf":  # a keybox, which is what gpg 2.1 and later make of any new keyring
            (self.home / "pubring.kbx").write_bytes(keys)
        elif not any(keyword == "IMPORT_OK" for keyword, _ in self.statuses("--import", content=keys)):
            raise PlanError(f"keyring {keyring}: holds no OpenPGP public key; make it with 'gpg --export --armor'")

    def statuses(self, *arguments: str, content: bytes) -> list[tuple[str, str]]:
        """The status lines of one call, as keyword and value; see GnuPG's doc/DETAILS."""
        command = [self.program, "--homedir", str(self.home), "--batch", "--no-tty", "--status-fd", "1", *_OPTIONS]
        environment = {"PATH": os.defpath, "LC_ALL": "C"}  # nothing of ours, such as a password, is gpg's business
        command += arguments
        done = subprocess.run(command, input=content, capture_output=True, env=environment, check=False)  # noqa: S603 - a verb and a path of ours
        lines = done.stdout.decode(errors="replace").splitlines()
        found = [line.removeprefix(_PREFIX).partition(" ") for line in lines if line.startswith(_PREFIX)]
        return [(keyword, value) for keyword, _, value in found]


def _keys(keyring: Path) -> bytes:
    try:
        return keyring.read_bytes()
    except OSError as problem:
        raise PlanError(f"keyring {keyring}: cannot be read: {problem.strerror}") from None


def _judged(lines: Iterable[tuple[str, str]]) -> Signature:
    """One verdict: a wrong signature spoils all, a good one beats those that could not be checked."""
    signatures: list[dict[str, str]] = []
    for keyword, value in lines:
        if keyword == "NEWSIG":
            signatures.append({})
        elif signatures:
            signatures[-1].setdefault(keyword, value)
    found = [_judged_one(statuses) for statuses in signatures]
    for state in ("bad", "weak", "future", "signed"):
        for signature in found:
            if signature.state == state:
                return signature
    return found[0] if found else Signature("bad", detail="it is not a detached OpenPGP signature")


def _judged_one(statuses: dict[str, str]) -> Signature:
    for keyword, state in _STATE_OF.items():
        if keyword in statuses and (state == "bad" or "VALIDSIG" in statuses):
            key_id, _, uid = statuses[keyword].partition(" ")
            valid = statuses.get("VALIDSIG", "").split()
            return Signature(_doubted(valid) if state == "signed" else state, (valid or [key_id])[-1], uid)
    if "NO_PUBKEY" in statuses:
        fingerprint = statuses.get("ERRSIG", "").split()[6:]
        return Signature("unknown-key", fingerprint[0] if fingerprint else statuses["NO_PUBKEY"])
    return Signature("bad", detail="it is not a detached OpenPGP signature that gpg can check")


def _doubted(valid: list[str]) -> SignatureState:
    """What a good signature's VALIDSIG says beside that: fingerprint, date, time, expiry, version, -, key, digest."""
    if len(valid) < 8 or valid[7] not in _STRONG_DIGESTS:
        return "weak"
    return "future" if not valid[2].isdigit() or int(valid[2]) > time() + _CLOCKS_DIFFER_S else "signed"
