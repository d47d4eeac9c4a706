"""Rewards from several reward models."""

import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, run

from rljax import shaping

SCORES = exact(np.random.default_rng(0).normal(size=(5, 3, 4)))


@both_precisions
@pytest.mark.parametrize('ddof', [0, 1])
def test_ensembles_equal_a_loop(dtype, tolerance, ddof):
  mean, worst, uncertain = (np.zeros((3, 4)) for _ in range(3))
  for at in np.ndindex(3, 4):
    scores = [SCORES[(k, *at)] for k in range(5)]
    mean[at] = sum(scores) / 5
    worst[at] = min(scores)
    variance = sum((s - mean[at]) ** 2 for s in scores) / (5 - ddof)
    uncertain[at] = mean[at] - 0.3 * variance
  assert_close(run(shaping.ensemble_mean, dtype, SCORES), mean, tolerance, each=False)
  assert_close(run(shaping.ensemble_worst, dtype, SCORES), worst, tolerance)
  found = run(lambda s: shaping.ensemble_uncertain(s, lam=0.3, ddof=ddof), dtype, SCORES)
  assert_close(found, uncertain, tolerance, each=False)


@pytest.mark.parametrize('ddof', [0, 1])
def test_one_model_is_its_score(ddof):
  one = np.float32(SCORES[:1])
  for fn in (shaping.ensemble_mean, shaping.ensemble_worst):
    np.testing.assert_array_equal(fn(one), one[0])
  np.testing.assert_array_equal(shaping.ensemble_uncertain(one, ddof=ddof), one[0])
