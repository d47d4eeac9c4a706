"""Lengths of hints, and when there is a longer one."""

import jax.numpy as jnp
import numpy as np

from rljax import curricula

RATIOS = (0.0, 0.25, 0.5, 0.75)


def test_hint_lengths_are_rounded_as_python_does():
  lengths = np.arange(0, 200)
  for ratio in (*RATIOS, 1.0, 0.3, 0.9):
    ratio = np.float32(ratio)
    expected = [round(float(np.float32(ratio * np.float32(n)))) for n in lengths]
    found = curricula.hint_length(jnp.asarray(lengths), ratio)
    np.testing.assert_array_equal(found, expected)
  assert found.dtype == jnp.int32 and found.max() > 100


def test_a_group_that_failed_gets_more_help_up_to_the_last_stage():
  correct = jnp.array([[0.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
  stage = jnp.array([0, 0, 2, 3, 1])
  np.testing.assert_array_equal(curricula.ghpo_stage(stage, correct), [1, 0, 3, 3, 1])


def test_only_real_members_are_asked_whether_the_group_failed():
  correct = jnp.array([[0.0, 1.0], [0.0, 0.0]])
  where = jnp.array([[1.0, 0.0], [0.0, 0.0]])
  np.testing.assert_array_equal(
    curricula.ghpo_stage(jnp.zeros(2, jnp.int32), correct, where), [1, 0]
  )


def test_the_stages_of_a_sampling_loop():
  """Each prompt stops at the first ratio that somebody solves, or at the last."""
  solved_at = np.array([0, 1, 2, 3, 9])
  stage = jnp.zeros(5, jnp.int32)
  asked = []
  for _ in range(5):
    correct = jnp.asarray((np.asarray(stage) >= solved_at)[:, None] * np.ones((1, 4)), jnp.float32)
    new = curricula.ghpo_stage(stage, correct)
    asked.append(int((new != stage).sum()))
    stage = new
  np.testing.assert_array_equal(stage, [0, 1, 2, 3, 3])
  assert asked == [4, 3, 2, 0, 0]
