"""The metadata of a packaged workload, and its dependencies."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_stormdb.errors import WorkloadError
from pytest_stormdb.packages.dependencies import (
    Dependency,
    parse_requirement,
    unmet_python,
    unmet_server,
)
from pytest_stormdb.packages.metadata import Metadata, Security, load_metadata

GUIDE = Path(__file__).parents[1] / "guide" / "my-plugin.yaml"
VERSION = "must be a version such as 1.2.0 or 2.0-rc.1: letters, digits and . + - _ !"
OK = "name: a\nversion: 1\n"
DIGEST = "0123456789abcdef" * 4


def loaded(folder: Path, text: str) -> Metadata:
    path = folder / "simple.yaml"
    path.write_text(text)
    return load_metadata(path)


def refusal(folder: Path, text: str | bytes) -> str:
    """What is said of a wrong file, without the path to it."""
    path = folder / "simple.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(WorkloadError) as caught:
        load_metadata(path)
    return str(caught.value).removeprefix(f"{path}:")


def test_the_guides_metadata_load_with_every_key(tmp_path: Path) -> None:
    """The guide's my-plugin.yaml, its two placeholders replaced, gives every key its meaning."""
    text = GUIDE.read_text().replace("abcd1234...", DIGEST.upper()).replace("signature: ...", "signature: abc")
    assert loaded(tmp_path, text) == Metadata(
        name="my-plugin",
        version="1.0.0",
        description="My custom StormDB plugin",
        author="Your Name",
        license="MIT",
        dependencies=(Dependency("postgresql-driver", "postgresql-driver", ">=1.0.0"),),
        tags=("database", "postgresql", "performance"),
        security=Security(DIGEST, "abc"),
    )


def test_the_guides_file_as_printed_is_refused_only_for_its_placeholder(tmp_path: Path) -> None:
    """Without its placeholder replaced the guide's checksum is no checksum, and the line says so."""
    assert refusal(tmp_path, GUIDE.read_text()) == (
        "14: security.checksum: 'sha256:abcd1234...' must be 'sha256:' and 64 hexadecimal digits, "
        "as sha256sum prints them"
    )


def test_the_guides_echo_appends_the_checksum_at_the_top_level(tmp_path: Path) -> None:
    """The guide's ``echo "checksum: ..." >> my-plugin.yaml`` is read like security.checksum."""
    text = f"name: a\nversion: 1\nchecksum: sha256:{DIGEST}\n"
    assert loaded(tmp_path, text).security == Security(DIGEST)
    other = f"{text}security:\n  checksum: sha256:{'0' * 64}\n"
    assert "keep one of them" in refusal(tmp_path, other)


def test_the_guides_dependencies_all_parse(tmp_path: Path) -> None:
    """The guide's list of framework and Go dependencies is read, Go module paths included."""
    text = """name: a
version: 1.0.0
dependencies:
  # Framework dependencies
  - stormdb-core: ">=2.0.0"
  - postgresql-driver: ">=1.0.0"
  
  # External libraries
  - github.com/lib/pq: ">=1.10.0"
  - github.com/golang-migrate/migrate/v4: ">=4.0.0"
"""  # noqa: W293 - as the guide prints it
    assert loaded(tmp_path, text).dependencies == (
        Dependency("stormdb-core", "stormdb-core", ">=2.0.0"),
        Dependency("postgresql-driver", "postgresql-driver", ">=1.0.0"),
        Dependency("distribution", "github.com/lib/pq", ">=1.10.0"),
        Dependency("distribution", "github.com/golang-migrate/migrate/v4", ">=4.0.0"),
    )


def test_every_other_way_to_write_a_dependency(tmp_path: Path) -> None:
    """PEP 508 strings, extensions, the server's version and bare names are read; a false marker drops one."""
    text = """name: a
version: 1.0.0
dependencies:
  - pydantic[email]>=2.7,<3
  - sqlalchemy
  - postgresql>=15
  - extension:vector>=0.5
  - extension:pg_trgm:
  - postgresql: "~=16.0"
  - pytest-stormdb>=0.1
  - pywin32; sys_platform == 'no such system'
"""
    assert [(d.kind, d.name, d.specifier) for d in loaded(tmp_path, text).dependencies] == [
        ("distribution", "pydantic", "<3,>=2.7"),
        ("distribution", "sqlalchemy", ""),
        ("postgresql", "postgresql", ">=15"),
        ("extension", "vector", ">=0.5"),
        ("extension", "pg_trgm", ""),
        ("postgresql", "postgresql", "~=16.0"),
        ("stormdb-core", "pytest-stormdb", ">=0.1"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: 1", "1: the key 'name' is missing; a packaged workload has a name and a version"),
        ("name: a\nversio: 1", "2: unknown key 'versio'; did you mean 'version'?"),
        (OK + "signatur: x", "3: unknown key 'signatur'; did you mean 'security.signature'?"),
        (OK + "security: {checksun: x}", "3: security: unknown key 'checksun'; did you mean 'checksum'?"),
        ("name: a\nname: b", "2: key 'name' is given twice, first in line 1"),
        (
            "name: a b\nversion: 1",
            "1: name: 'a b' must be letters and digits, joined by - or _, at most 48 in all",
        ),
        ("name: a\nversion: [1]", "2: version: must be text"),
        ('name: a\nversion: "1 verified, b 2"', f"2: version: {VERSION}"),
        ('name: a\nversion: "1\\e[8m"', f"2: version: {VERSION}"),
        ('name: a\nversion: 1\nauthor: "a\\rb"', "3: author: must be one line without control characters"),
        ('name: a\nversion: 1\ntags: ["\\u202e"]', "3: tags.0: must be one line without control characters"),
        ("name: a\nversion:", "2: version: is empty; give it a value or remove the key"),
        (OK + "tags: x", "3: tags: 'x' must be a list: one '- item' a line, or [item, item]"),
        (
            OK + "dependencies: [{a: 1, b: 2}]",
            "3: dependencies.0: must be one name and its range, such as - pydantic: '>=2.7'",
        ),
        (
            OK + "dependencies: [a: latest]",
            "3: dependencies.0: 'latest' is not a range of versions; write '>=1.0' or '>=1.0,<2'",
        ),
        (
            OK + "dependencies:\n- a: >=1",
            (
                "4: not YAML: expected chomping or indentation indicators, but found '='; put quotes around "
                "what begins with > or |"
            ),
        ),
        ("- a", "1: must be a mapping of keys to values"),
        ("", "1: the key 'name' is missing; a packaged workload has a name and a version"),
        ("name: !!python/name:os.system\nversion: 1", "1: name: has a YAML tag; only plain values are read"),
        (
            "name: a\n\tversion: 1",
            "2: not YAML: found character '\\t' that cannot start any token; indent with spaces",
        ),
        (b"name: a\nversion: \xff", "2: not UTF-8 text"),
        (b"name: a\nversion: \x00", "2: a character that YAML does not allow"),
        ('name: a\nversion: "\\0"', "2: version: holds a NUL character"),
        ('name: a\nversion: "\\ud800"', "2: version: holds half a character (a lone surrogate)"),
        ("name: a\n<<: {version: 1}", "2: merge keys (<<) are not read; write the keys out"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_place(tmp_path: Path, text: str | bytes, said: str) -> None:
    """Each mistake is one WorkloadError naming file, line and key, and what to write instead."""
    assert refusal(tmp_path, text) == said


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (bomb(12), "more than 10,000 values"),
        ("name: &a [*a]", "an alias that contains itself"),
        ("[" * 5000, "nested more than 50 levels deep"),
        (f"name: {'9' * 5000}\nversion: 1", "too long a number"),
        (f"version: 0x{'f' * 5000}", "does not fit in 64 bits"),
        ("x" * (1 << 20) + "y", "larger than 1,048,576 bytes"),
        ('name: "\\UFFFFFFFF"', "Error while reading it"),
    ],
    ids=["bomb", "recursion", "depth", "digits", "hexadecimal", "size", "escape"],
)
def test_small_files_that_grow_are_refused(tmp_path: Path, text: str, said: str) -> None:
    """Aliases that multiply, values that contain themselves and endless numbers are our one error."""
    assert said in refusal(tmp_path, text)


def test_a_version_is_text_as_it_is_written(tmp_path: Path) -> None:
    """``version: 1.10`` is 1.10 and not the number 1.1, and a date is not a date."""
    assert loaded(tmp_path, "name: a\nversion: 1.10").version == "1.10"
    assert loaded(tmp_path, "name: a\nversion: 2026-01-02").version == "2026-01-02"


PIECES = """\
name: a\n|version: 1\n|- |dependencies:\n| - x>=1\n|: |&a |*a |!!int |!!binary |!!timestamp |
|<<: |? |{|}|[|]|'|"
|>\n|security:\n|  checksum: x\n|!!bool x\n|%YAML 1.1\n---\n|\\x00|\n"""
YAML = st.one_of(
    st.text(),
    st.text(alphabet="abn:-[]{}&*!|>'\"%@#,?~<= \n\t\\0123456789$"),
    st.lists(st.sampled_from(PIECES.split("|"))).map("".join),
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(YAML.map(lambda text: text.encode(errors="surrogatepass")), st.binary()))
def test_no_text_makes_the_loader_raise_anything_else(tmp_path: Path, content: bytes) -> None:
    """Whatever the file holds, it is metadata or a WorkloadError that begins with the file's name."""
    path = tmp_path / "any.yaml"
    path.write_bytes(content)
    said = ""
    try:
        said = load_metadata(path).name
    except WorkloadError as problem:
        said = str(problem).removeprefix(str(path))
    assert said


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A missing file is our error too, with the reason."""
    with pytest.raises(WorkloadError, match=r"none\.yaml: cannot be read: No such file or directory$"):
        load_metadata(tmp_path / "none.yaml")


INSTALLED = {"pytest-stormdb": "0.1.0", "psycopg": "3.3.9", "pydantic": "2.8.0rc1"}


@pytest.mark.parametrize(
    ("dependency", "said"),
    [
        (Dependency("stormdb-core", "stormdb-core", ">=0.1,<1"), None),
        (
            Dependency("stormdb-core", "stormdb-core", ">=2.0.0"),
            "needs stormdb-core >=2.0.0, but pytest-stormdb 0.1.0 is installed; stormdb-core is this package here",
        ),
        (Dependency("postgresql-driver", "postgresql-driver", ">=1.0.0"), None),
        (
            Dependency("postgresql-driver", "postgresql-driver", ">=4"),
            "needs postgresql-driver >=4, but psycopg 3.3.9 is installed",
        ),
        (Dependency("distribution", "pydantic", ">=2.7"), None),
        (Dependency("distribution", "nothing", ""), "needs nothing, but nothing is not installed"),
        (
            Dependency("distribution", "github.com/lib/pq", ">=1.10.0"),
            "needs github.com/lib/pq >=1.10.0, but that is no Python distribution; "
            "name the Python package instead, or remove it",
        ),
        (Dependency("postgresql", "postgresql", ">=99"), None),
    ],
)
def test_unmet_python_dependencies_name_what_is_needed_and_found(dependency: Dependency, said: str | None) -> None:
    """Each unmet Python dependency is a sentence; the server's are not asked for."""
    assert unmet_python([dependency], INSTALLED.get) == ([said] if said else [])


def test_what_is_installed_is_asked_of_python() -> None:
    """Without a look-up of one's own the installed distributions are asked."""
    assert unmet_python([Dependency("distribution", "PyYAML", ">=6")]) == []
    assert unmet_python([Dependency("distribution", "no-such-thing", ">=6")]) == [
        "needs no-such-thing >=6, but no-such-thing is not installed"
    ]


@pytest.mark.parametrize(
    ("version", "range_", "shown"),
    [
        (160004, ">=16.4,<17", None),
        ("160004", ">=16.4", None),
        ("16.4 (Debian 16.4-1.pgdg120+1)", "==16.4", None),
        ("18beta1", ">=17", None),
        ("18devel", ">=18", "18.dev0"),
        (90624, ">=10", "9.6.24"),
        (150002, ">=16", "15.2"),
        ("strange", ">=16", "strange"),
    ],
)
def test_the_servers_version_in_all_its_forms(version: str | int, range_: str, shown: str | None) -> None:
    """Numbers, packagers' text and previews of the server's version compare as they are meant."""
    unmet = unmet_server([Dependency("postgresql", "postgresql", range_)], version, {})
    assert unmet == ([f"needs postgresql {range_}, but the server is PostgreSQL {shown}"] if shown else [])


def test_unmet_extensions_name_what_the_server_has() -> None:
    """A missing extension, an old one and one whose version says nothing are told apart."""
    needs = [
        Dependency("extension", "vector", ">=0.5"),
        Dependency("extension", "postgis", ""),
        Dependency("extension", "pg_trgm", ">=1"),
        Dependency("distribution", "nothing", ""),
    ]
    assert unmet_server(needs, 160004, {"vector": "0.4.4", "pg_trgm": "1.6"}) == [
        "needs extension:vector >=0.5, but the server has vector 0.4.4",
        "needs extension:postgis, but the server has no extension postgis",
    ]
    assert unmet_server(needs[:1], 160004, {"vector": "unpackaged"}) == [
        "needs extension:vector >=0.5, but the server has vector unpackaged"
    ]


@settings(max_examples=300)
@given(st.one_of(st.text(), st.from_regex(r"[a-z.]{1,5}(\[x\])? ?[<>=~!]{1,3}[0-9.a-z*+]{1,9}(;.*)?")))
def test_a_requirement_parses_or_is_a_value_error(text: str) -> None:
    """No text makes the requirement parser raise anything but ValueError."""
    try:
        parsed = parse_requirement(text)
    except ValueError:
        return
    assert parsed is None or parsed.name
