"""What --stormdb-checksums and --stormdb-signatures let run, and where the state of a workload is shown."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pytest_stormdb.packages.checksums import seal

from .conftest import Suite

LONG_AGO = "20200101T000000!"


def plain(suite: Suite) -> str:
    """The module of a workload that needs no server, and leaves its name when it is imported."""
    return suite.canary("module") + "def test_shop():\n    pass\n"


def test_unsealed_is_shown(suite: Suite) -> None:
    """Without a seal a workload runs, and the header says so."""
    suite.workload("shop", module=plain(suite))
    ran = suite.run()
    assert ran.counts == {"passed": 1}
    assert "stormdb workloads: shop 1.0.0 unsealed" in ran.text


def test_require_refuses_the_unsealed(suite: Suite) -> None:
    """``require`` refuses an unsealed workload, says how to seal it, and lets a sealed one run."""
    folder = suite.workload("shop", module=plain(suite))
    ran = suite.run("--stormdb-checksums=require")
    assert (ran.status, ran.counts, ran.canaries) == (1, {"errors": 1}, [])
    assert "workload shop: unsealed: no shop.sha256; write it with 'stormdb seal'" in ran.text
    seal(folder)
    ran = suite.run("--stormdb-checksums=require")
    assert ran.counts == {"passed": 1}
    assert "stormdb workloads: shop 1.0.0 verified" in ran.text


def test_require_by_ini_file(suite: Suite) -> None:
    """The policy can be set for good in the ini file, and the command line is stronger."""
    suite.write("pytest.ini", "[pytest]\nstormdb_checksums = require\n")
    suite.workload("test_shop", {"conftest.py": suite.canary("conftest")}, module="")
    ran = suite.run()
    assert (ran.counts, ran.canaries) == ({"errors": 1}, [])
    assert suite.run("--stormdb-checksums=verify").canaries == ["conftest"]


@pytest.mark.parametrize("name", ["shop", "test_shop"])
def test_off_verifies_nothing(suite: Suite, name: str) -> None:
    """``off`` runs what has changed, its early conftest too, and the header says that nobody looked."""
    test = suite.canary("module") + "def test_it():\n    pass\n"
    folder = suite.sealed(name, {"conftest.py": suite.canary("conftest")}, module=test)
    (folder / "README.md").write_text("added")
    ran = suite.run("--stormdb-checksums=off")
    assert ran.counts == {"passed": 1}
    assert ran.canaries == ["conftest", "module"]
    assert f"stormdb workloads: {name} 1.0.0 unverified" in ran.text


def test_unknown_policy(suite: Suite) -> None:
    """A policy that is none is a usage error that names the three."""
    ran = suite.run("--stormdb-checksums=always")
    assert ran.status == 4
    assert "ERROR: --stormdb-checksums: 'always' is none of off, verify, require" in ran.text


@pytest.mark.parametrize(
    ("seals", "policy", "state"),
    [(True, "verify", "verified"), (False, "verify", "unsealed"), (True, "off", "unverified")],
)
def test_state_in_the_record(
    suite: Suite, database: psycopg.Connection[Any], seals: bool, policy: str, state: str
) -> None:
    """The state, name and version of a workload are in the JSON record, and the state is in JUnit's properties."""
    (suite.sealed if seals else suite.workload)("my-shop")
    ran = suite.run(f"--stormdb-checksums={policy}")
    assert ran.counts == {"passed": 1}
    assert ran.document["runs"][0]["workload"] == {"name": "my-shop", "version": "1.0.0", "integrity": state}
    assert ran.properties["stormdb.integrity"] == state


def test_no_state_outside_of_packages(suite: Suite, database: psycopg.Connection[Any]) -> None:
    """An ordinary module is no package: no header, no state."""
    suite.write(
        "test_own.py",
        "import pytest\n@pytest.mark.stormdb(iterations=1)\ndef test_own(worker): worker.conn.execute('SELECT 1')\n",
    )
    ran = suite.run()
    assert ran.document["runs"][0]["workload"] == {"name": "own", "version": None, "integrity": None}
    assert "stormdb.integrity" not in ran.properties
    assert "stormdb workloads" not in ran.text


def test_main_module_checksum_of_the_metadata(suite: Suite) -> None:
    """``security.checksum`` of the metadata is compared too, though the folder is not sealed."""
    suite.workload("shop", metadata=f"security:\n  checksum: sha256:{'0' * 64}\n", module=plain(suite))
    ran = suite.run()
    assert (ran.counts, ran.canaries) == ({"errors": 1}, [])
    assert "workload shop: changed: test_shop.py (security.checksum is not its sha256:" in ran.text


def test_wrong_metadata_is_one_error(suite: Suite) -> None:
    """Metadata that cannot be read is the workload's error, with file, line and key, and nobody else's."""
    suite.workload("shop", metadata="tags: 3\nlicence: MIT\n", module=plain(suite))
    suite.write("test_neighbour.py", "def test_neighbour(): pass\n")
    ran = suite.run()
    assert (ran.status, ran.counts, ran.canaries) == (1, {"passed": 1, "errors": 1}, [])
    assert "shop.yaml:4: unknown key 'licence'; did you mean 'license'?" in ran.text


# -- signatures ------------------------------------------------------------------------------------------------------


class Keys:
    """Key pairs in homes of their own, which only gpg has seen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def gpg(self, name: str, *arguments: str, content: bytes = b"", at: str | None = None) -> bytes:
        home = self.folder / name
        home.mkdir(mode=0o700, exist_ok=True)
        options = ["--batch", "--quiet", "--yes", "--passphrase", "", *(["--faked-system-time", at] if at else [])]
        command = ["gpg", "--homedir", str(home), *options, *arguments]
        return subprocess.run(command, input=content, capture_output=True, check=True).stdout

    def make(self, name: str, expire: str = "never", at: str | None = None) -> str:
        self.gpg(name, "--quick-generate-key", f"{name} <{name}@example.org>", "ed25519", "sign", expire, at=at)
        return name

    def sign(self, name: str, content: bytes, *options: str, at: str | None = None) -> bytes:
        return self.gpg(name, *options, "--armor", "--detach-sign", content=content, at=at)

    def revoked(self, name: str) -> bytes:
        """The public key as the world sees it after its owner took it back."""
        (certificate,) = (self.folder / name / "openpgp-revocs.d").glob("*.rev")
        text = certificate.read_text().replace("\n:-----BEGIN", "\n-----BEGIN")
        self.gpg("world", "--import", content=self.gpg(name, "--export"))
        self.gpg("world", "--import", content=text[text.index("-----BEGIN") :].encode())
        return self.gpg("world", "--armor", "--export", name)


@pytest.fixture(scope="module")
def keys() -> Iterator[Keys]:
    """Keys of an author, of another, of one whose time is over, and of one who took it back."""
    if shutil.which("gpg") is None:
        pytest.skip("gpg is not installed")
    with tempfile.TemporaryDirectory(prefix="stormdb-keys-", ignore_cleanup_errors=True) as folder:
        made = Keys(Path(folder))
        made.make("author", at=LONG_AGO)
        made.make("stranger")
        made.make("former", expire="1y", at=LONG_AGO)
        made.make("careless", at=LONG_AGO)
        yield made
        for home in Path(folder).iterdir():
            subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)


@pytest.fixture
def keyring(keys: Keys, suite: Suite) -> Path:
    """The public keys of all but the stranger, one of them revoked."""
    path = suite.folder / "keys.asc"
    exported = [keys.gpg(name, "--armor", "--export") for name in ("author", "former")]
    path.write_bytes(b"".join([*exported, keys.revoked("careless")]))
    return path


def signed(suite: Suite, keys: Keys, name: str, *options: str, at: str | None = None) -> None:
    folder = suite.sealed("shop", {"conftest.py": suite.canary("conftest")}, module=plain(suite))
    content = (folder / "shop.sha256").read_bytes()
    (folder / "shop.sha256.asc").write_bytes(keys.sign(name, content, *options, at=at))


def test_signed(suite: Suite, keys: Keys, keyring: Path) -> None:
    """A good signature by a key of the keyring passes under ``require``."""
    signed(suite, keys, "author")
    ran = suite.run("--stormdb-signatures=require", f"--stormdb-keyring={keyring.name}")
    assert ran.counts == {"passed": 1}
    assert "stormdb workloads: shop 1.0.0 verified" in ran.text


@pytest.mark.parametrize(
    ("name", "options", "at", "sentence"),
    [
        ("stranger", (), None, "signed with a key that is not in the keyring: "),
        ("former", (), LONG_AGO, "signed with a key that has expired: former <former@example.org> ("),
        ("careless", (), LONG_AGO, "signed with a key that was revoked: careless <careless@example.org> ("),
        ("author", ("--default-sig-expire", "30d"), LONG_AGO, "the signature by author <author@example.org> ("),
    ],
    ids=["unknown key", "expired key", "revoked key", "expired signature"],
)
@pytest.mark.parametrize("policy", ["verify", "require"])
def test_not_good_enough(
    suite: Suite,
    keys: Keys,
    keyring: Path,
    policy: str,
    name: str,
    options: tuple[str, ...],
    at: str | None,
    sentence: str,
) -> None:
    """A signature that does not hold refuses the workload under both policies, with its own sentence."""
    signed(suite, keys, name, *options, at=at)
    ran = suite.run(f"--stormdb-signatures={policy}", f"--stormdb-keyring={keyring.name}")
    assert (ran.status, ran.counts, ran.canaries) == (1, {"errors": 1}, [])
    assert f"workload shop: {sentence}" in ran.text


def test_signed_by_somebody_for_something_else(suite: Suite, keys: Keys, keyring: Path) -> None:
    """A signature over other checksums is wrong."""
    signed(suite, keys, "author")
    signature = keys.sign("author", b"other checksums")
    (suite.folder / "shop/shop.sha256.asc").write_bytes(signature)
    ran = suite.run("--stormdb-signatures=require", f"--stormdb-keyring={keyring.name}")
    assert (ran.counts, ran.canaries) == ({"errors": 1}, [])
    assert "workload shop: the signature is wrong: author <author@example.org> (" in ran.text
    assert "did not sign these contents" in ran.text


def test_unsigned(suite: Suite, keys: Keys, keyring: Path) -> None:
    """Unsigned is refused under ``require``, and runs under ``verify``, which a keyring alone means."""
    signed(suite, keys, "author")
    (suite.folder / "shop/shop.sha256.asc").unlink()
    ran = suite.run("--stormdb-signatures=require", f"--stormdb-keyring={keyring.name}")
    assert (ran.counts, ran.canaries) == ({"errors": 1}, [])
    assert "workload shop: not signed" in ran.text
    assert suite.run(f"--stormdb-keyring={keyring.name}").counts == {"passed": 1}


def test_unsealed_is_unsigned(suite: Suite, keys: Keys, keyring: Path) -> None:
    """Where a signature is required, a workload without checksums has none."""
    suite.workload("shop", module=plain(suite))
    ran = suite.run("--stormdb-signatures=require", f"--stormdb-keyring={keyring.name}")
    assert (ran.counts, ran.canaries) == ({"errors": 1}, [])
    assert "workload shop: not signed" in ran.text


def test_signatures_need_checksums(suite: Suite, keys: Keys, keyring: Path) -> None:
    """A signature is over checksums: with these off, a required one cannot hold, and the error says why."""
    signed(suite, keys, "author")
    options = ["--stormdb-checksums=off", "--stormdb-signatures=require", f"--stormdb-keyring={keyring.name}"]
    ran = suite.run(*options)
    assert ran.status == 4
    assert "ERROR: --stormdb-signatures=require needs checksums, which a signature is over" in ran.text


def test_signatures_need_a_keyring(suite: Suite) -> None:
    """Without a keyring there is nothing to verify with: a usage error says so."""
    ran = suite.run("--stormdb-signatures=require")
    assert ran.status == 4
    assert "ERROR: --stormdb-signatures=require needs --stormdb-keyring FILE" in ran.text


@pytest.mark.parametrize(("content", "sentence"), [(None, "cannot be read"), (b"no keys", "holds no OpenPGP public")])
def test_keyring_that_is_none(suite: Suite, keys: Keys, content: bytes | None, sentence: str) -> None:
    """A keyring that is not there, or none, lets nothing run, and is named."""
    signed(suite, keys, "author")
    if content is not None:
        (suite.folder / "trusted.asc").write_bytes(content)
    ran = suite.run("--stormdb-keyring=trusted.asc")
    assert (ran.status, ran.counts, ran.canaries) == (1, {"errors": 1}, [])
    assert "trusted.asc: " in ran.text
    assert sentence in ran.text


def test_keyring_of_the_ini_file(suite: Suite, keys: Keys, keyring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keyring of the ini file is found from the folder of that file, wherever pytest is started."""
    signed(suite, keys, "author")
    suite.write("pytest.ini", f"[pytest]\nstormdb_keyring = {keyring.name}\nstormdb_signatures = require\n")
    (suite.folder / "below").mkdir()
    monkeypatch.chdir(suite.folder / "below")
    assert suite.run("../shop").counts == {"passed": 1}
