"""What the loop fills for a method: the policy's scores before its update, under their names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import quickstart
from experiments import build, cli
from experiments.learner import make_learner
from rljax import aggregation, methods, training
from rljax.types import Batch, Term


def largest(logits, targets):
  del targets
  return logits.max(-1)


def size(x, real):
  return jnp.sqrt(jnp.sum(x**2)) / real.sum()


def reading(reads):
  """GRPO with a term of a statistic now, and before the update; `prepare` keeps what it found."""

  def now(scores, batch):
    return scores.extras['largest']

  def before(scores, batch):
    return jnp.broadcast_to(batch.extras['old_largest'], scores.logp.shape)

  terms = {'now': Term(now, aggregation.token_mean, 1e-3)}
  if 'largest' in reads:
    terms['before'] = Term(before, aggregation.token_mean, 0.0)
  return methods.plus(methods.grpo(), **terms)._replace(
    statistics={'largest': largest}, features={'size': size}, reads=reads
  )


def start(method, **changes):
  """A learner, a state whose policy has moved from the reference, the reference and a batch."""
  config = cli.settle(quickstart.get_config(), tiny=True)
  config.rl.update(changes)
  parts = build.check(config)
  learner = make_learner(config, parts, method)
  reference = build.initial_params(parts, 0)
  state = learner.init(reference)
  moved = build.initial_params(parts, 1)
  state = state.replace(params=jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, state.params, moved))
  rng = np.random.default_rng(0)
  shape = (config.rl.prompts, config.rl.group_size, config.rl.max_new_tokens)
  words = parts.decoder.vocab_size
  lengths = rng.integers(1, shape[-1] + 1, shape[:-1])
  real = np.arange(shape[-1]) < lengths[..., None]
  rewards = jnp.asarray(rng.integers(0, 2, shape[:-1]), jnp.float32)
  batch = Batch(
    prompt=jnp.asarray(rng.integers(0, words, (shape[0], 1, parts.prompt_width)), jnp.int32),
    completion=jnp.asarray(np.where(real, rng.integers(0, words, shape), -1), jnp.int32),
    mask=jnp.asarray(real, jnp.float32),
    rewards=rewards,
    truncated=jnp.zeros(shape[:-1]),
    behavior_logp=jnp.zeros(shape),
    extras={'correct': rewards},
  )
  score = training.make_score(parts.model, statistics={'largest': largest}, features={'size': size})
  return learner, state, reference, batch, score


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('bucket', [0, 8], ids=['padded', 'packed'])
def test_what_a_method_reads_is_that_of_the_policy_before_its_update(bucket):
  method = reading(('logp', 'entropy', 'largest', 'size'))
  learner, state, reference, batch, score = start(method, bucket=bucket)
  expected = jax.jit(score)(state.params, batch)
  _, prepared = learner.prepare(state, reference, batch)
  assert np.abs(expected.logp - prepared.ref_logp).max() > 1e-3
  np.testing.assert_allclose(prepared.old_logp, expected.logp, atol=1e-5)
  np.testing.assert_allclose(prepared.extras['old_entropy'], expected.entropy, atol=1e-5)
  for name in ('largest', 'size'):
    wanted = np.asarray(expected.extras[name])
    assert np.ptp(wanted) > 1e-2
    np.testing.assert_allclose(prepared.extras[f'old_{name}'], wanted, rtol=1e-5, atol=1e-5)
  means = [
    float((x * aggregation.token_mean(batch)).sum())
    for x in (expected.extras['largest'], prepared.extras['old_largest'])
  ]
  _, metrics = learner.update(state, reference, prepared, np.random.default_rng(0))
  assert metrics['loss/now'] == pytest.approx(means[0], rel=1e-4)
  assert metrics['loss/before'] == pytest.approx(means[1], rel=1e-4)


@pytest.mark.nightly
@pytest.mark.slow
def test_a_method_that_reads_nothing_is_not_scored_before_one_update():
  learner, state, reference, batch, score = start(reading(()))
  found = jax.jit(score)(state.params, batch).extras['largest']
  expected = float((found * aggregation.token_mean(batch)).sum())
  _, prepared = learner.prepare(state, reference, batch)
  assert prepared.old_logp is None
  assert set(prepared.extras) == {'correct'}
  _, metrics = learner.update(state, reference, prepared, np.random.default_rng(0))
  assert metrics['loss/now'] == pytest.approx(expected, rel=1e-4)


@pytest.mark.nightly
@pytest.mark.slow
def test_several_updates_of_a_batch_fill_its_log_probability_whatever_the_method_reads():
  learner, state, reference, batch, score = start(reading(('entropy',)), epochs=2)
  expected = jax.jit(score)(state.params, batch)
  _, prepared = learner.prepare(state, reference, batch)
  np.testing.assert_allclose(prepared.old_logp, expected.logp, atol=1e-5)
  assert set(prepared.extras) == {'correct', 'old_entropy'}
  _, metrics = learner.update(state, reference, prepared, np.random.default_rng(0))
  assert metrics['kl_old'] > 0


def test_a_read_that_nobody_can_fill_is_named():
  learner, state, reference, batch, _ = start(methods.grpo()._replace(reads=('tail',)))
  with pytest.raises(ValueError, match=r"reads \['tail'\] of the policy before its update"):
    learner.prepare(state, reference, batch)


def test_the_estimate_counts_the_pass_that_a_method_asks_for():
  from experiments import estimate

  config = cli.settle(quickstart.get_config(), tiny=True)
  parts = build.check(config)
  plain = estimate.step_flops(config, parts, methods.grpo())
  more = estimate.step_flops(config, parts, reading(('entropy',)))
  assert more['score'] == 2 * plain['score'] and more['update'] == plain['update']
