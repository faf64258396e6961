"""One cluster for all tests of a process."""

from __future__ import annotations

import pytest
from slurm_cluster import SlurmCluster, why_not


@pytest.fixture(scope="session")
def running_cluster():
    reason = why_not()
    if reason:
        pytest.skip(f"no Slurm can be brought up here: {reason}")
    with SlurmCluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(running_cluster):
    """Return the cluster, idle and whole; what a test leaves behind is cleared away."""
    yield running_cluster
    running_cluster.settle()
