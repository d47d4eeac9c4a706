"""From google-tunix: its GRPO learner with our advantages and our loss, called by their names."""

import functools

import jax
import numpy as np
import pytest

from rljax import advantages, aggregation, ratios, surrogates
from rljax.types import Batch

pytest.importorskip('tunix', reason='google-tunix is not installed')

from flax import nnx
from tunix.rl import common, function_registry

from experiments.bench.peers import with_tunix

WORK = {
  'model': {
    'vocab_size': 64,
    'dim': 16,
    'num_layers': 1,
    'num_heads': 2,
    'num_kv_heads': 2,
    'head_dim': 8,
    'ff_dim': 32,
    'rope_theta': 10_000.0,
    'norm_eps': 1e-6,
    'tied': True,
    'dtype': 'float32',
  },
  'prompts': 2,
  'group_size': 4,
  'prompt_length': 4,
  'max_new_tokens': 8,
  'temperature': 1.0,
  'beta': 0.0,
  'learning_rate': 1e-2,
  'seed': 0,
}


def register(calls, estimator, clip_high):
  """Our functions under the name 'rljax'; `calls` counts them."""

  @function_registry.register_advantage_estimator('rljax')
  def advantage(rewards, num_generations):
    calls['advantage'] += 1
    return np.asarray(estimator(rewards.reshape(-1, num_generations))).reshape(-1)

  @function_registry.register_policy_loss_fn('rljax')
  def policy_loss(model, train_example, algo_config, pad_id, eos_id):
    calls['loss'] += 1
    logp = common.compute_per_token_logps(
      *nnx.split(model),
      prompt_tokens=train_example.prompt_ids,
      completion_tokens=train_example.completion_ids,
      pad_id=pad_id,
      eos_id=eos_id,
      stop_gradient=False,
      temperature=algo_config.temperature,
    )
    ratio = ratios.token(logp, train_example.old_per_token_logps)
    adv = train_example.advantages[:, None]
    low = algo_config.epsilon
    weights = aggregation.sequence_mean(Batch(mask=train_example.completion_mask))
    loss = (weights * surrogates.clipped(ratio, adv, low, clip_high)).sum()
    cut = (weights * surrogates.clip_fraction(ratio, adv, low, clip_high)).sum()
    return loss, {'kl': 0.0, 'pg_clipfrac': cut}


def trained(**algorithm):
  """Parameters before and after two batches of two updates each."""
  learner = with_tunix.learner(WORK, num_iterations=2, **algorithm)
  model = learner.rl_cluster.actor_trainer.model

  def parameters():
    return jax.tree.map(np.array, nnx.state(model, nnx.Param))

  before = parameters()
  texts = np.array(with_tunix.prompts(WORK))
  learner.train([{'prompts': texts}, {'prompts': texts}])
  return before, parameters()


def distance(a, b):
  leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  return max(float(np.abs(x - y).max()) for x, y in leaves)


@pytest.fixture(autouse=True)
def ranks_may_differ():
  """Its own code adds arrays of different ranks, in threads too, which our tests forbid to ours."""
  before = jax.config.jax_numpy_rank_promotion
  jax.config.update('jax_numpy_rank_promotion', 'allow')
  yield
  jax.config.update('jax_numpy_rank_promotion', before)


@functools.cache
def theirs():
  return trained()


def test_its_learner_takes_the_same_steps_with_our_grpo():
  calls = {'advantage': 0, 'loss': 0}
  register(calls, advantages.grpo, clip_high=0.2)
  before, after = trained(advantage_estimator='rljax', policy_loss_fn='rljax')
  start, expected = theirs()
  assert calls['advantage'] == 2 and calls['loss'] > 0
  assert distance(before, start) == 0
  assert distance(start, expected) > 1e-2
  # AdamW divides by the gradient's size: where that is near 0, rounding is a part of a step.
  assert distance(after, expected) < 1e-4


def test_its_learner_trains_with_an_advantage_and_a_clip_that_it_does_not_have():
  calls = {'advantage': 0, 'loss': 0}
  register(calls, advantages.rloo, clip_high=0.5)
  before, after = trained(advantage_estimator='rljax', policy_loss_fn='rljax')
  assert calls['advantage'] == 2 and calls['loss'] > 0
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(after))
  assert distance(before, after) > 1e-2
  assert distance(after, theirs()[1]) > 1e-3
