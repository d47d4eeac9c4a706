"""PPO and its critic: loss and gradient against loops, returns, explained variance, mistakes."""

import cases_ppo
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import as_batch, as_scores, assert_parity, loss_and_gradient, loss_of_case, problem
from parity import assert_close

from rljax import methods, training
from rljax.types import Scores


@pytest.mark.parametrize('name', cases_ppo.CASES)
def test_loss_and_gradient_equal_loops(name):
  assert_parity(name)


def prepared(method, p):
  _, batch = as_batch(p, 'groups', extras=cases_ppo.extras)
  return jax.jit(method.prepare)((), batch)[1]


def test_returns_and_advantages_of_a_batch_equal_loops():
  p = problem(1, [4, 4, 4], keep=True)
  batch = prepared(methods.ppo(**cases_ppo.FULL), p)
  raw, returns = cases_ppo.gae(p, **cases_ppo.FULL)
  assert_close(batch.extras['returns'].reshape(returns.shape), returns, 1e-5, each=False)
  kept = (p['mask'] > 0) & (p['keep'] > 0)[:, None]
  found = np.asarray(batch.advantages).reshape(kept.shape)
  assert (found[~kept] == 0).all()
  assert found[kept].mean() == pytest.approx(0, abs=1e-6)
  assert found[kept].std(ddof=1) == pytest.approx(1, abs=1e-5)
  assert np.corrcoef(found[kept], raw[kept])[0, 1] == pytest.approx(1, abs=1e-6)


def test_explained_variance_is_of_the_whole_rollout_and_of_the_values_before_the_update():
  p = problem(1, [4, 4, 4], keep=True)
  _, returns = cases_ppo.gae(p, 0.0, 1.0, 1.0)
  kept = (p['mask'] > 0) & (p['keep'] > 0)[:, None]
  expected = 1 - np.var((returns - cases_ppo.old_values(p))[kept]) / np.var(returns[kept])
  method = methods.ppo()
  batch = prepared(method, p)
  scores = Scores(None, values=jnp.float32(cases_ppo.new_values(p)).reshape(batch.mask.shape))
  alone = method._replace(terms=method.critic)
  loss, terms = training.total(alone, scores, batch, training.weigh(alone, batch))
  assert float(terms['explained_variance']) == pytest.approx(expected, rel=1e-5)
  assert float(loss) == float(terms['value'])  # a metric, not a loss
  # Of a minibatch, too.
  part = jax.tree.map(lambda x: x[:1], (scores, batch.replace(constants={})))
  half = part[1].replace(constants=batch.constants)
  _, terms = training.total(alone, part[0], half, training.weigh(alone, half))
  assert float(terms['explained_variance']) == pytest.approx(expected, rel=1e-5)


def test_right_values_are_explained_in_full_and_have_no_loss():
  p = problem(2, [4, 4, 4])
  _, batch = as_batch(p, 'groups')
  right = jnp.broadcast_to(batch.rewards[..., None], batch.mask.shape)
  method = methods.ppo(lam=0.9)
  _, batch = jax.jit(method.prepare)((), batch.replace(extras={'old_values': right}))
  np.testing.assert_allclose(batch.advantages, 0.0, atol=1e-5)
  assert float(batch.constants['explained_variance']) == pytest.approx(1.0, abs=1e-6)
  alone = method._replace(terms=method.critic)
  weights = training.weigh(alone, batch)
  loss, _ = training.total(alone, Scores(None, values=right), batch, weights)
  assert float(loss) == pytest.approx(0.0, abs=1e-10)


@pytest.mark.parametrize('garbage', [np.nan, np.inf])
@pytest.mark.parametrize('name', cases_ppo.CASES)
def test_old_values_where_nobody_trains_are_not_read(name, garbage):
  p = problem(0, [4, 4, 4], keep=True)
  _, batch = as_batch(p, 'groups', extras=cases_ppo.extras)
  scores = as_scores(p, 'groups', lambda p: {'values': cases_ppo.new_values(p)})
  values = jnp.where(batch.mask > 0, batch.extras['old_values'], garbage)
  spoilt = batch.replace(extras={**batch.extras, 'old_values': values})
  clean = loss_of_case(name, scores, batch)
  jax.tree.map(np.testing.assert_array_equal, loss_of_case(name, scores, spoilt), clean)
  assert max(np.abs(x).max() for x in jax.tree.leaves(clean[1])) > 0


def test_missing_values_are_said_in_words():
  logp, batch = as_batch(problem(0, [4, 4]), 'groups')
  method = methods.ppo()
  with pytest.raises(ValueError, match=r"needs batch.extras\['old_values'\].*training.make_value"):
    method.prepare((), batch)
  _, batch = as_batch(problem(0, [4, 4]), 'groups', extras=cases_ppo.extras)
  with pytest.raises(ValueError, match=r'scores.values, which is None.*training.make_critic_step'):
    loss_and_gradient(method._replace(terms=method.critic), Scores(logp), batch)
  with pytest.raises(ValueError, match='ref_logp, which is None'):
    methods.ppo(kl_coef=0.1).prepare((), batch.replace(ref_logp=None))


def test_combinators_keep_the_critic():
  method = methods.ppo()
  wrapped = methods.with_keep(
    lambda batch: batch.truncated,
    methods.with_rewards(lambda b: b.rewards, methods.with_truncated_importance(method)),
  )
  assert wrapped.critic is method.critic and set(method.critic) == {'value', 'explained_variance'}
