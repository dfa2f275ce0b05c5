"""Each call finds its endpoint, and no other."""

from __future__ import annotations

import re

import pytest

from gateway.http.describe import Endpoint
from gateway.http.paths import Paths
from gateway.http.problems import Problem
from gateway.routes.table import ENDPOINTS

PATHS = Paths(ENDPOINTS)


@pytest.mark.parametrize("endpoint", [one for one in ENDPOINTS if "{" in one.path], ids=lambda one: one.path)
def test_a_path_with_nothing_where_a_value_belongs_is_none(endpoint: Endpoint) -> None:
    """A handler would be asked for an entity without an id."""
    with pytest.raises(Problem):
        PATHS.find(endpoint.method, re.sub(r"{\w+}", "", endpoint.path))
    with pytest.raises(Problem):
        PATHS.find(endpoint.method, endpoint.path + "/more")
