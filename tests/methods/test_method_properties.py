"""What must hold of every method whatever the batch: masks, garbage, order, padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from test_methods import METHODS, T, as_batch, loss_and_gradient, loss_of_method, problem

P, G = 3, 4
every_method = pytest.mark.parametrize('name', METHODS)


def start(seed=0):
  return as_batch(problem(seed, [G] * P, keep=True), 'groups')


def floats(shape, low, high):
  return hnp.arrays(np.float32, shape, elements=st.floats(low, high, width=32))


def bits(shape):
  return hnp.arrays(np.float32, shape, elements=st.sampled_from([0.0, 1.0]))


def dead(batch):
  """Tokens that must not be trained, `[P, G, T]`."""
  return (np.asarray(batch.mask) == 0) | (np.asarray(batch.keep) == 0)[..., None]


@every_method
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
  mask=bits((P, G, T)),
  keep=bits((P, G)),
  rewards=hnp.arrays(np.float32, (P, G), elements=st.sampled_from([0.0, 1.0, -1.0, 0.1, 7.5])),
  logp=floats((P, G, T), -60, 0),
  log_ratio=floats((P, G, T), -25, 24),
)
def test_loss_and_gradient_are_finite_and_dead_tokens_have_none(
  name, mask, keep, rewards, logp, log_ratio
):
  _, batch = start()
  batch = batch.replace(
    mask=mask,
    keep=keep,
    rewards=rewards,
    old_logp=logp - log_ratio,
    ref_logp=logp + log_ratio,
    extras={'correct': (rewards > 0).astype(np.float32)},
  )
  (loss, terms), gradient = loss_of_method(
    name, jnp.asarray(logp), jax.tree.map(jnp.asarray, batch)
  )
  assert np.isfinite(loss) and np.isfinite(gradient).all()
  assert all(np.isfinite(x) for x in terms.values())
  assert (np.asarray(gradient)[dead(batch)] == 0).all()


@every_method
def test_a_batch_with_nothing_to_train_has_loss_and_gradient_zero(name):
  logp, batch = start()
  nothing = jnp.zeros_like(batch.mask)
  for empty in (batch.replace(mask=nothing), batch.replace(keep=jnp.zeros((P, G)))):
    (loss, _), gradient = loss_of_method(name, logp, empty)
    assert loss == 0 and (np.asarray(gradient) == 0).all()


@every_method
@pytest.mark.parametrize('garbage', [np.nan, np.inf, -np.inf])
def test_garbage_where_nobody_trains_does_not_leak(name, garbage):
  logp, batch = start()
  hole = batch.mask == 0
  assert hole.any()

  def spoil(x):
    return jnp.where(hole, garbage, x)

  spoilt = batch.replace(
    old_logp=spoil(batch.old_logp),
    ref_logp=spoil(batch.ref_logp),
    behavior_logp=spoil(batch.behavior_logp),
  )
  clean = loss_of_method(name, logp, batch)
  for a, b in ((spoil(logp), spoilt), (logp, spoilt), (spoil(logp), batch)):
    jax.tree.map(np.testing.assert_array_equal, loss_of_method(name, a, b), clean)


@every_method
def test_order_of_samples_and_prompts_does_not_matter(name):
  logp, batch = start(2)
  rng = np.random.default_rng(0)
  prompts, samples = (
    rng.permutation(P)[:, None],
    rng.permuted(np.tile(np.arange(G), (P, 1)), axis=1),
  )
  (loss, terms), gradient = loss_of_method(name, logp, batch)
  moved, moved_gradient = loss_of_method(
    name, *jax.tree.map(lambda x: x[prompts, samples], (logp, batch))
  )
  scale = np.abs(gradient).max()
  assert scale > 0
  np.testing.assert_allclose(
    moved_gradient, gradient[prompts, samples], rtol=1e-5, atol=1e-6 * scale
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), moved, (loss, terms)
  )


@every_method
def test_more_padding_changes_nothing(name):
  logp, batch = start(1)
  method = METHODS[name][0]

  def pad(x):
    return jnp.pad(x, ((0, 0), (0, 0), (0, 2)))

  longer = batch.replace(
    mask=pad(batch.mask),
    old_logp=pad(batch.old_logp),
    ref_logp=pad(batch.ref_logp),
    behavior_logp=pad(batch.behavior_logp),
  )
  (loss, terms), gradient = loss_of_method(name, logp, batch)
  more, more_gradient = loss_and_gradient(method, pad(logp), longer)
  scale = np.abs(gradient).max()
  assert scale > 0
  np.testing.assert_allclose(more_gradient[..., :T], gradient, rtol=1e-5, atol=1e-6 * scale)
  assert (np.asarray(more_gradient)[..., T:] == 0).all()
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), more, (loss, terms)
  )
