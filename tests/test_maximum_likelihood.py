"""The search for the most likely parameters, on functions with known minima."""

import numpy as np
import pytest
import torch

from noisewise.noise.fit.maximum_likelihood import minimise


def test_the_minimum_of_a_quadratic_is_the_solution_of_its_system():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(12, 12))
    matrix, right = torch.from_numpy(root @ root.T + np.eye(12)), torch.from_numpy(rng.normal(size=12))
    found = minimise(lambda x: x @ matrix @ x / 2 - right @ x, torch.zeros(12).double())
    assert torch.allclose(found, torch.linalg.solve(matrix, right), atol=1e-3)


@pytest.mark.parametrize("start", [(-1.2, 1.0), (3.0, -2.0)])
def test_the_minimum_of_rosenbrocks_function_is_found(start):
    """At (1, 1), at the end of a curved valley."""

    def rosenbrock(x):
        return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2

    found = minimise(rosenbrock, torch.tensor(start).double())
    assert torch.allclose(found, torch.ones(2).double(), atol=1e-2)


def test_the_search_ends_on_a_function_without_minimum():
    found = minimise(lambda x: torch.exp(-x).sum(), torch.zeros(1).double())
    assert found.isfinite().all()
    assert found > 5
