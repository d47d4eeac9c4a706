import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, random_mask, run

from rljax import selection

RNG = np.random.default_rng(17)
REWARDS = exact(RNG.choice([0.0, 1.0, 0.1], (8, 5)))
REWARDS[4] = 0.1
WHERE = random_mask(RNG, REWARDS.shape)
WHERE[4] = 1


def slow(value):
  found = np.zeros(REWARDS.shape)
  for p in range(len(REWARDS)):
    real = [g for g in range(5) if WHERE[p, g]]
    for g in real:
      found[p, g] = value([REWARDS[p, h] for h in real])
  return found


def hard_and_uncertain(rewards, ddof):
  if len(set(rewards)) == 1:
    return 0.0
  return (1.5 - np.mean(rewards)) * np.std(rewards, ddof=ddof)


@both_precisions
@pytest.mark.parametrize('ddof', [0, 1])
def test_task_values_equal_a_loop(dtype, tolerance, ddof):
  expected = slow(lambda r: hard_and_uncertain(r, ddof))
  dirty = np.where(WHERE > 0, REWARDS, np.nan)
  found = run(lambda *a: selection.task_value(*a, max_reward=1.5, ddof=ddof), dtype, dirty, WHERE)
  assert_close(found, expected, tolerance)
  assert expected.max() > 0.2 and (found[4] == 0).all()


@both_precisions
def test_accuracy_values_equal_a_loop(dtype, tolerance):
  expected = slow(lambda r: (1 - np.mean(r)) * 4 * np.mean(r) * (1 - np.mean(r)))
  dirty = np.where(WHERE > 0, REWARDS, np.nan)
  found = run(selection.accuracy_value, dtype, dirty, WHERE)
  assert_close(found, expected, tolerance, each=False)
  assert expected.max() > 0.2


def test_worthless_prompts_are_replaced_in_proportion_to_value():
  values = jnp.concatenate([jnp.zeros(4000), jnp.array([1.0, 3.0])])
  index = np.asarray(jax.jit(selection.refill_by_value)(jax.random.key(0), values))
  np.testing.assert_array_equal(index[-2:], [4000, 4001])
  assert set(index[:4000]) == {4000, 4001}
  assert np.mean(index[:4000] == 4001) == pytest.approx(0.75, abs=0.03)
  copies = selection.count_copies(jnp.asarray(index))
  for place in (0, 1, 4000, 4001):
    assert copies[place] == np.sum(index == index[place])


def test_where_nothing_is_worth_more_every_prompt_stays():
  index = selection.refill_by_value(jax.random.key(0), jnp.zeros(3))
  np.testing.assert_array_equal(index, [0, 1, 2])


def test_the_hint_grows_with_the_failures():
  rewards = jnp.array([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
  where = jnp.array([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
  found = selection.hint_ratio(rewards, where, low=0.2, high=0.8)
  np.testing.assert_allclose(found, [0.2, 0.5, 0.8, 0.8], rtol=1e-6)
  noisy = selection.hint_ratio(rewards, where, jnp.array([-0.5, 0.1, 0.5, 0]), low=0.2, high=0.8)
  np.testing.assert_allclose(noisy, [0, 0.6, 1, 0.8], rtol=1e-6)
  lengths = selection.hint_lengths(found, jnp.array([9, 9, 9, 0]))
  np.testing.assert_array_equal(lengths, [1, 4, 7, 0])
