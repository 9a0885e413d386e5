"""The packaged workload ``vector``: recall is measured, missed where it is bad, and all writes are accounted for."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tests.conftest import Suite

from .packages import Package, model_of, module_of, params

SMALL = params(scale=300, dimensions=16, lists=10, probes=5, queries=10, batch_size=20)


@pytest.fixture
def vector(suite: Suite) -> Package:
    """A copy of the package."""
    return Package("vector", suite)


@pytest.mark.slow
def test_it_passes_with_recall_beside_latency(vector: Package) -> None:
    """Each search, each way to write and the mix run without a failed operation."""
    runs = vector.load_test(*SMALL, passed=15)
    for kind in ("exact", "ivfflat", "hnsw"):
        for metric in ("cosine", "l2", "ip"):
            run = runs[f"test_search[{kind}-{metric}]"]
            assert run["metrics"]["recall"]["count"] == run["totals"]["operations"]
            assert run["metrics"]["recall"]["value"] == 1 or kind != "exact"
            assert "metrics.recall" in [verdict["expression"].split()[0] for verdict in run["thresholds"]]
    for name, rows in {"ingest_single": 1, "update_single": 1, "ingest_batch": 20, "ingest_copy": 20}.items():
        operation = runs[f"test_{name}"]["operations"][f"test_{name}"]
        assert operation["rows"] == rows * operation["count"]
    assert runs["test_update_batch"]["totals"]["operations"] > 0
    assert set(runs["TestMixed"]["operations"]) == {"search", "insert", "update", "delete"}


@pytest.mark.slow
def test_bad_recall_fails_however_fast(vector: Package) -> None:
    """One of fifty lists does not hold the neighbours: the threshold on recall is missed."""
    hard = params(scale=1000, dimensions=64, lists=50, probes=1, queries=20, ingest_index="none")
    result = vector.suite.run("vector", "-k", "ivfflat-l2", "--stormdb-duration=300ms", "--stormdb-warmup=0s", *hard)
    result.assert_outcomes(failed=1, deselected=14)
    result.stdout.fnmatch_lines(["*metrics.recall 0.* is not >= 0.8: certain*"])


@pytest.mark.slow
@pytest.mark.parametrize("index", ["none", "ivfflat"])
def test_the_written_table_has_the_index_asked_for(vector: Package, index: str) -> None:
    """Vectors are brought in with another index, or with none."""
    result = vector.suite.run("vector", "--stormdb-smoke", "-k", "ingest or Mixed", *SMALL, *params(ingest_index=index))
    result.assert_outcomes(passed=4, deselected=11)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"dimensions": 2001}, "dimensions"),
        ({"ef_construction": 31, "m": 16}, "ef_construction 31 must be at least twice m, 32"),
        ({"ef_search": 9, "top_k": 10}, "ef_search 9 finds fewer than top_k 10"),
        ({"list": 1}, "list"),
    ],
    ids=str,
)
def test_parameters_that_pgvector_would_refuse_are_refused_first(wrong: dict[str, int], words: str) -> None:
    """The complaint names the parameters."""
    with pytest.raises(ValidationError, match=words):
        model_of("vector")(**wrong)


def test_vectors_cluster_and_repeat() -> None:
    """A stream gives the same vectors again, another stream others around the same centres."""
    module = module_of("vector")
    parameters = module.Vector(dimensions=3)
    first, again, other = (module.Source(parameters, stream) for stream in ("items", "items", "queries"))
    drawn = [first.draw() for _ in range(5)]
    assert drawn == [again.draw() for _ in range(5)]
    assert drawn != [other.draw() for _ in range(5)]
    assert first._centres == other._centres
    assert drawn[0].startswith("[")
    assert drawn[0].count(",") == 2
