"""Signatures with real keys: every state that gpg can tell apart."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_stormdb.errors import PlanError
from pytest_stormdb.packages.signatures import Signature, check_signature

CONTENT = b"0123  test_simple.py\n"
LONG_AGO = "20200101T000000!"


@dataclass(frozen=True)
class Author:
    """A key pair in a home of its own."""

    home: Path
    uid: str
    fingerprint: str

    def gpg(self, *arguments: str, content: bytes = b"", at: str | None = None) -> bytes:
        return gpg(self.home, *arguments, content=content, at=at)

    def sign(self, content: bytes = CONTENT, *options: str, at: str | None = None) -> bytes:
        return self.gpg(*options, "--armor", "--detach-sign", content=content, at=at)

    def export(self, folder: Path, *options: str) -> Path:
        path = folder / f"{self.fingerprint}.keys"
        path.write_bytes(self.gpg(*options, "--export", self.fingerprint))
        return path


def gpg(home: Path, *arguments: str, content: bytes = b"", at: str | None = None) -> bytes:
    time = ["--faked-system-time", at] if at else []
    command = [
        "gpg",
        "--homedir",
        str(home),
        "--batch",
        "--quiet",
        "--yes",
        "--passphrase",
        "",
        *time,
        *arguments,
    ]
    return subprocess.run(command, input=content, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def authors() -> Iterator[Path]:
    """A folder for the homes of gpg, short enough for its sockets; its agents end with it."""
    if shutil.which("gpg") is None:
        pytest.skip("gpg is not installed")
    with tempfile.TemporaryDirectory(prefix="stormdb-keys-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
        for home in Path(folder).iterdir():
            subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)


def make(authors: Path, name: str, expire: str = "never", at: str | None = None) -> Author:
    home = authors / name
    home.mkdir(mode=0o700)
    uid = f"{name.title()} Ä. Author <{name}@example.org>"
    gpg(home, "--quick-generate-key", uid, "ed25519", "sign", expire, at=at)
    colons = gpg(home, "--with-colons", "--list-keys").decode()
    fingerprint = next(line.split(":")[9] for line in colons.splitlines() if line.startswith("fpr:"))
    return Author(home, uid, fingerprint)


@pytest.fixture(scope="module")
def alice(authors: Path) -> Author:
    return make(authors, "alice", at=LONG_AGO)


@pytest.fixture(scope="module")
def mallory(authors: Path) -> Author:
    return make(authors, "mallory")


@pytest.fixture(params=["binary", "armored", "keyring"])
def keyring(request: pytest.FixtureRequest, alice: Author, tmp_path: Path) -> Path:
    """Alice's public key, in each form that a file of keys can have."""
    if request.param == "keyring":
        path = tmp_path / "trusted.gpg"
        exported = alice.gpg("--export")
        alice.gpg("--no-default-keyring", "--keyring", str(path), "--import", content=exported)
        return path
    return alice.export(tmp_path, *(["--armor"] if request.param == "armored" else []))


def test_signed(alice: Author, keyring: Path) -> None:
    """A good signature names its key and its owner, whatever form the keyring has."""
    signature = check_signature(CONTENT, alice.sign(), keyring)
    assert signature == Signature("signed", alice.fingerprint, alice.uid)
    assert signature.is_valid
    assert str(signature) == f"signed by {alice.uid} ({alice.fingerprint})"


def test_a_binary_signature_counts_too(alice: Author, tmp_path: Path) -> None:
    """A detached signature need not be armored."""
    signature = alice.gpg("--detach-sign", content=CONTENT)
    assert check_signature(CONTENT, signature, alice.export(tmp_path)).state == "signed"


def test_unsigned(alice: Author, tmp_path: Path) -> None:
    """No signature is no error, and is not valid."""
    signature = check_signature(CONTENT, None, alice.export(tmp_path))
    assert (signature.state, signature.is_valid, str(signature)) == ("unsigned", False, "not signed")


def test_a_signature_of_something_else_is_bad(alice: Author, tmp_path: Path) -> None:
    """One byte changed after signing makes the signature wrong."""
    signature = check_signature(CONTENT + b" ", alice.sign(), alice.export(tmp_path))
    assert signature.state == "bad"
    assert str(signature) == (
        f"the signature is wrong: {alice.uid} ({alice.fingerprint[-16:]}) did not sign these contents"
    )


@pytest.mark.parametrize("signature", [b"", b"hello", b"\xff\x00", b"-----BEGIN PGP SIGNATURE-----\n\nAAAA\n"])
def test_no_signature_at_all_is_bad(alice: Author, tmp_path: Path, signature: bytes) -> None:
    """Bytes that are no signature are wrong, not unsigned."""
    checked = check_signature(CONTENT, signature, alice.export(tmp_path))
    assert checked.state == "bad"
    assert "not a detached OpenPGP signature" in str(checked)


@pytest.mark.parametrize("how", ["--clear-sign", "--sign"])
def test_a_signed_message_of_its_own_is_no_signature_of_ours(alice: Author, tmp_path: Path, how: str) -> None:
    """A message that carries its own, well-signed content says nothing of these contents."""
    message = alice.gpg("--armor", how, content=b"something else")
    assert check_signature(CONTENT, message, alice.export(tmp_path)).state == "bad"


def test_unknown_key(alice: Author, mallory: Author, tmp_path: Path) -> None:
    """A signature by a key outside the keyring is named by its fingerprint."""
    signature = check_signature(CONTENT, mallory.sign(), alice.export(tmp_path))
    assert signature == Signature("unknown-key", mallory.fingerprint)
    assert str(signature) == f"signed with a key that is not in the keyring: {mallory.fingerprint}"


def test_the_users_own_keys_are_not_asked(
    alice: Author, mallory: Author, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key in the user's own keyring is unknown all the same."""
    monkeypatch.setenv("GNUPGHOME", str(mallory.home))
    assert check_signature(CONTENT, mallory.sign(), alice.export(tmp_path)).state == "unknown-key"


def test_one_good_signature_of_two_is_enough(alice: Author, mallory: Author, tmp_path: Path) -> None:
    """A second signature by someone unknown takes nothing away, and a wrong one spoils all."""
    keyring = alice.export(tmp_path)
    both = mallory.gpg("--detach-sign", content=CONTENT) + alice.gpg("--detach-sign", content=CONTENT)
    assert check_signature(CONTENT, both, keyring).fingerprint == alice.fingerprint
    wrong = alice.gpg("--detach-sign", content=b"x") + alice.gpg("--detach-sign", content=CONTENT)
    assert check_signature(CONTENT, wrong, keyring).state == "bad"


def test_expired_signature(alice: Author, tmp_path: Path) -> None:
    """A signature made to last a day has expired, while its key is good."""
    old = alice.sign(CONTENT, "--default-sig-expire", "1d", at="20200102T000000!")
    signature = check_signature(CONTENT, old, alice.export(tmp_path))
    assert signature == Signature("expired-signature", alice.fingerprint, alice.uid)
    assert str(signature) == f"the signature by {alice.uid} ({alice.fingerprint}) has expired"


def test_expired_key(authors: Path, tmp_path: Path) -> None:
    """A signature by a key that has expired since is not good any more."""
    erin = make(authors, "erin", expire="1d", at=LONG_AGO)
    signature = check_signature(CONTENT, erin.sign(at=LONG_AGO), erin.export(tmp_path))
    assert signature == Signature("expired-key", erin.fingerprint, erin.uid)
    assert str(signature) == f"signed with a key that has expired: {erin.uid} ({erin.fingerprint})"


def test_revoked_key(authors: Path, tmp_path: Path) -> None:
    """A key that its owner revoked signs nothing, not even in retrospect."""
    rob = make(authors, "rob")
    signed = rob.sign()
    certificate = (rob.home / "openpgp-revocs.d" / f"{rob.fingerprint}.rev").read_text()
    rob.gpg("--import", content=certificate.replace(":-----BEGIN", "-----BEGIN").encode())
    signature = check_signature(CONTENT, signed, rob.export(tmp_path))
    assert signature == Signature("revoked-key", rob.fingerprint, rob.uid)
    assert str(signature) == f"signed with a key that was revoked: {rob.uid} ({rob.fingerprint})"


def test_a_keyring_must_hold_keys(alice: Author, tmp_path: Path) -> None:
    """A keyring that is missing or holds nothing is the user's error, not the workload's."""
    with pytest.raises(PlanError, match=r"keyring .*none: cannot be read: No such file or directory$"):
        check_signature(CONTENT, None, tmp_path / "none")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(PlanError, match=r"keyring .*text: holds no OpenPGP public key"):
        check_signature(CONTENT, alice.sign(), tmp_path / "text")


def test_without_gpg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where gpg is missing the signature cannot be checked either."""
    (tmp_path / "keys").write_text("")
    monkeypatch.setenv("PATH", str(tmp_path))
    signature = check_signature(CONTENT, b"x", tmp_path / "keys")
    assert str(signature) == "signatures cannot be checked: gpg is not installed"
    assert not signature.is_valid


@pytest.mark.parametrize("digest", ["SHA1", "RIPEMD160"])
def test_a_weak_digest_is_refused(authors: Path, tmp_path: Path, digest: str) -> None:
    """A signature over a digest that can be forged is no good one, however right it is."""
    home = authors / f"old-{digest.lower()}"
    home.mkdir(mode=0o700)
    gpg(home, "--quick-generate-key", "old@example.org", "rsa2048", "sign", "never")
    keys = tmp_path / "keys"
    keys.write_bytes(gpg(home, "--export"))
    options = ["--allow-weak-digest-algos", "--digest-algo", digest, "--armor", "--detach-sign"]
    signature = check_signature(CONTENT, gpg(home, *options, content=CONTENT), keys)
    assert (signature.state, signature.is_valid) == ("weak", False)
    assert "rests on a weak digest" in str(signature)
    strong = gpg(home, "--digest-algo", "SHA512", "--detach-sign", content=CONTENT)
    assert check_signature(CONTENT, strong, keys).state == "signed"


def test_a_future_date_is_refused(alice: Author, tmp_path: Path) -> None:
    """A signature of a time that has not come is not taken for one."""
    signature = check_signature(CONTENT, alice.sign(at="20990101T000000!"), alice.export(tmp_path))
    assert (signature.state, signature.is_valid) == ("future", False)
    assert "dated in the future" in str(signature)
