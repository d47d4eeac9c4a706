import math

import jax.numpy as jnp
import numpy as np
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import advantages

RNG = np.random.default_rng(11)
REWARDS = exact(RNG.choice([0.0, 1.0, 0.1], (7, 6)))
REWARDS[4] = 0.1
HINTED = (RNG.random((7, 6)) < 0.5) * 1.0
HINTED[3], HINTED[5] = 0, 1
WHERE = random_mask(RNG, REWARDS.shape)
WHERE[3:] = 1


def slow_adhint(rewards, hinted, where, ddof=1):
  found = np.zeros(rewards.shape)
  for p in range(len(rewards)):
    real = [g for g in range(rewards.shape[1]) if where[p, g]]
    values = [rewards[p, g] for g in real]
    if len(set(values)) < 2:
      continue
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - ddof))
    given = [rewards[p, g] for g in real if hinted[p, g]]
    free = [rewards[p, g] for g in real if not hinted[p, g]]
    for g in real:
      z = (rewards[p, g] - mean) / (deviation + 1e-6)
      if given and free and ((z > 0 and not hinted[p, g]) or (z < 0 and hinted[p, g])):
        z *= math.exp((1 - sum(free) / len(free)) - (1 - sum(given) / len(given)))
      found[p, g] = z
  return found


@both_precisions
def test_adhint_equals_a_loop(dtype, tolerance):
  expected = slow_adhint(REWARDS, HINTED, WHERE)
  dirty = np.where(WHERE > 0, REWARDS, np.nan)
  found = run(advantages.adhint, dtype, dirty, HINTED, WHERE)
  assert_close(found, expected, tolerance, each=False)
  assert np.abs(expected).max() > 1


def test_without_hints_it_is_grpo():
  rewards = jnp.asarray(REWARDS, jnp.float32)
  for hinted in (jnp.zeros_like(rewards), jnp.ones_like(rewards)):
    np.testing.assert_array_equal(advantages.adhint(rewards, hinted), advantages.grpo(rewards))


def test_free_successes_and_hinted_failures_weigh_more_where_hints_help():
  rewards, hinted = jnp.array([[1.0, 0.0, 1.0, 0.0]]), jnp.array([[0.0, 0.0, 1.0, 1.0]])
  np.testing.assert_allclose(
    advantages.adhint(rewards, hinted), advantages.grpo(rewards), rtol=1e-6
  )  # equally hard
  rewards, hinted = jnp.array([[1.0, 0.0, 0.0, 1.0, 1.0, 0.0]]), jnp.array([[0, 0, 0, 1, 1, 1]])
  ratio = advantages.adhint(rewards, hinted) / advantages.grpo(rewards)
  more = math.exp(1 / 3)
  np.testing.assert_allclose(ratio, [[more, 1, 1, 1, 1, more]], rtol=1e-5)
