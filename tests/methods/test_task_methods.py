"""Methods that differ in their rewards, against loops; what they read, and their state."""

import cases_tasks
import jax
import numpy as np
import pytest
from harness import assert_parity, start

from rljax import methods


@pytest.mark.parametrize('name', cases_tasks.CASES)
def test_loss_and_gradient_equal_loops(name):
  # Few are truncated, and the ranks of at least two in a group are to be seen.
  assert_parity(name, seeds=10 if name == 'serr' else 3)


@pytest.mark.parametrize('name', cases_tasks.CASES)
def test_what_a_method_reads_and_nobody_filled_is_named(name):
  method = cases_tasks.CASES[name].method
  _, batch = start(name)
  missing = [*method.needs, *(f'old_{key}' for key in method.reads)]
  for key in missing:
    rest = {k: v for k, v in batch.extras.items() if k != key}
    with pytest.raises(ValueError, match=f'needs batch.extras.*{key}'):
      method.prepare(method.init(), batch.replace(extras=rest))
  if name == 'serr':
    with pytest.raises(ValueError, match=r'reads batch\.truncated'):
      method.prepare((), batch.replace(truncated=None))


def test_prof_keeps_as_many_as_it_says_and_trains_no_other():
  _, batch = start('prof')
  method = methods.prof(size=2, penalty=0.5, max_steps=3)
  _, prepared = jax.jit(method.prepare)((), batch.replace(keep=None))
  assert (np.asarray(prepared.keep).sum(-1) == 2).all()
  correct = np.asarray(batch.extras['correct'])
  both = (correct.max(-1) > 0) & (correct.min(-1) == 0)
  assert both.any()
  right = (np.asarray(prepared.keep) * correct).sum(-1)
  assert (right[both] == 1).all()
  np.testing.assert_array_equal(np.asarray(prepared.advantages)[..., 0][prepared.keep == 0], 0.0)


def test_the_coins_of_noise_are_new_for_every_batch_and_the_same_for_a_seed():
  _, batch = start('noisy_grpo')
  method = methods.noisy_grpo(probability=0.5, seed=7)
  prepare = jax.jit(method.prepare)

  def signs(state):
    found = []
    for _ in range(8):
      state, prepared = prepare(state, batch)
      found.append(np.sign(prepared.advantages[:, :, 0]))
    return np.stack(found)

  first, again = signs(method.init()), signs(method.init())
  np.testing.assert_array_equal(first, again)
  assert len({x.tobytes() for x in first}) > 2
  quiet = methods.noisy_grpo(probability=0.0)
  _, clean = quiet.prepare(quiet.init(), batch)
  plain = batch.replace(rewards=batch.extras['correct'])
  _, expected = methods.grpo().prepare((), plain)
  np.testing.assert_array_equal(clean.advantages, expected.advantages)
