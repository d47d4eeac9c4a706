import functools

import jax.numpy as jnp
import numpy as np
from parity import assert_close, both_precisions, run

from rljax import advantages


@both_precisions
def test_right_and_wrong_answers_have_one_advantage_each(dtype, tolerance):
  correct = np.random.default_rng(0).choice([1.0, 0.0, -1.0, 0.9], (3, 4))
  expected = [[0.25 if c == 1 else -0.5 for c in row] for row in correct]
  fn = functools.partial(advantages.signed, right=0.25, wrong=-0.5)
  assert_close(run(fn, dtype, correct), expected, tolerance)


def test_the_defaults_are_those_of_w_reinforce_and_equal_rewards_no_special_case():
  np.testing.assert_allclose(advantages.signed(jnp.ones((2, 3))), 0.1)
  np.testing.assert_array_equal(advantages.signed(jnp.zeros(3)), -1.0)
