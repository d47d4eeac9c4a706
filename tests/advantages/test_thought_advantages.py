import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, run

from rljax import advantages

RNG = np.random.default_rng(7)
B, S = 12, 6
COUNT = np.array([6, 5, 4, 3, 2, 1, 0, 6, 6, 5, 5, 4])
STEPS = (np.arange(S) < COUNT[:, None]) * 1.0
LABELS = (RNG.random((B, S)) < 0.5) * 1.0
STEP_ID = np.tile(np.arange(14) // 2, (B, 1))
CORRECT = (np.arange(B) % 2 == 0) * 1.0
OUTCOME = exact(np.where(CORRECT > 0, 1, -1) * RNG.random(B))
ACCURACY = exact(RNG.random(B))


def accumulated(outcome, correct, accuracy, labels, count, step_id, alpha):
  """The sum of the rewards of a token's thought and of all that follow it."""
  found = np.repeat(outcome[:, None], step_id.shape[1], axis=1)
  for i, n in enumerate(count):
    if not n:
      continue
    label = [*(labels[i, : n - 1] > 0), True]
    price = alpha * accuracy[i] if correct[i] else outcome[i]
    sums, total = np.zeros(n), 0.0
    for k in reversed(range(n)):
      if k == n - 1:
        total = outcome[i]
      elif label[k] != label[k + 1]:  # a thought ends here, and adds its reward
        total += price if label[k] else -price
      sums[k] = total
    found[i] = sums[np.minimum(step_id[i], n - 1)]
  return found


@both_precisions
def test_the_closed_form_equals_the_accumulated_one(dtype, tolerance):
  expected = accumulated(OUTCOME, CORRECT, ACCURACY, LABELS, COUNT, STEP_ID, 0.7)
  dirty = np.where(STEPS > 0, LABELS, np.nan)
  found = run(
    lambda *a: advantages.tp_grpo(*a, alpha=0.7),
    dtype,
    *(OUTCOME, CORRECT, ACCURACY, dirty, STEPS, STEP_ID),
  )
  assert_close(found, expected, tolerance, each=False)
  assert len(np.unique(expected)) > 12


def one(outcome, correct, accuracy, labels, **kwargs):
  numbers = (jnp.array([x]) for x in (outcome, correct, accuracy))
  labels = jnp.array([labels])
  ids = jnp.arange(labels.shape[1])[None]
  return advantages.tp_grpo(*numbers, labels, jnp.ones_like(labels), ids, **kwargs)[0]


def test_right_and_wrong_solutions_by_hand():
  np.testing.assert_allclose(one(0.5, 1.0, 0.75, [1, 0, 0, 1], alpha=2.0), [0.5, -1, -1, 0.5])
  np.testing.assert_allclose(one(-0.5, 0.0, 0.75, [0, 1, 0, 1]), [0, -0.5, 0, -0.5])


@pytest.mark.parametrize(
  ('correct', 'accuracy', 'expected'), [(1.0, 1.0, [0, -1, 0]), (0.0, 0.0, [0, 0, 0])]
)
def test_groups_that_are_all_right_or_all_wrong(correct, accuracy, expected):
  np.testing.assert_array_equal(one(0.0, correct, accuracy, [1, 0, 1]), expected)


def test_the_answer_counts_as_right_whatever_its_label():
  np.testing.assert_array_equal(one(0.5, 1.0, 0.5, [1, 0, 0]), one(0.5, 1.0, 0.5, [1, 0, 1]))
