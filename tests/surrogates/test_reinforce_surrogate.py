import jax
import numpy as np
from parity import assert_close, both_precisions, exact, run

from rljax import surrogates

LOGP = exact(-np.random.default_rng(0).exponential(2.0, (2, 3, 5)))
ADV = exact(np.random.default_rng(1).normal(size=(2, 3, 1)))


@both_precisions
def test_value_and_gradient(dtype, tolerance):
  assert_close(run(surrogates.reinforce, dtype, LOGP, ADV), -ADV * LOGP, tolerance)
  gradient = run(jax.grad(lambda x, a: surrogates.reinforce(x, a).sum()), dtype, LOGP, ADV)
  assert_close(gradient, np.broadcast_to(-ADV, LOGP.shape), tolerance)
