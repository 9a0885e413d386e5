"""Names of what we make: whole, safe, and different for different workloads."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_stormdb.database.names import own_name


@pytest.mark.parametrize("workload", ["shop", "simple_2", "x" * 55])
def test_a_plain_name_stands_as_it_is(workload: str) -> None:
    """What PostgreSQL keeps whole is what people see."""
    assert own_name(workload) == f"stormdb_{workload}"


@given(st.text(min_size=1, max_size=80), st.sampled_from(["", "gw0"]))
def test_a_name_is_kept_whole(workload: str, session: str) -> None:
    """Whatever a module is called, PostgreSQL neither cuts nor folds the name."""
    assert re.fullmatch(r"stormdb_[a-z0-9_]{1,55}", own_name(workload, session))


@pytest.mark.parametrize(
    ("one", "other"),
    [("my-shop", "my_shop"), ("Shop", "shop"), ("größe", "gr__e"), ("a" * 60, "a" * 61), ("läden", "loden")],
)
def test_different_workloads_have_different_names(one: str, other: str) -> None:
    """Folding, cutting and writing in ASCII do not bring two workloads together."""
    assert own_name(one) != own_name(other)


def test_each_worker_of_xdist_has_a_name() -> None:
    """Two processes of one session run the same workload side by side."""
    assert len({own_name("shop"), own_name("shop", "gw0"), own_name("shop", "gw1")}) == 3
