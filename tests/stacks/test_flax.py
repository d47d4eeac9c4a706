"""From flax and optax: a training loop of a Linen model that has nothing of rljax but arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import advantages, aggregation, divergences, ratios, surrogates
from rljax.types import Batch

nn = pytest.importorskip('flax.linen', reason='flax is not installed')
optax = pytest.importorskip('optax', reason='optax is not installed')

WORDS, PROMPTS, SAMPLES, LENGTH = 8, 8, 8, 5


class Policy(nn.Module):
  """The next word from the last one."""

  @nn.compact
  def __call__(self, tokens):
    return nn.Dense(WORDS)(nn.tanh(nn.Dense(32)(nn.Embed(WORDS, 16)(tokens))))


def draw(model, params, first, key):
  """Completions `[B, T]` and their log-probabilities, word by word."""
  tokens, logps = [first], []
  for k in jax.random.split(key, LENGTH):
    law = jax.nn.log_softmax(model.apply(params, tokens[-1]))
    tokens.append(jax.random.categorical(k, law))
    logps.append(jnp.take_along_axis(law, tokens[-1][:, None], axis=-1)[:, 0])
  return jnp.stack(tokens[1:], axis=1), jnp.stack(logps, axis=1)


def train(steps, *, estimator=advantages.rloo):
  """Mean reward of each step: a completion's share of the prompt's own word."""
  model, tx = Policy(), optax.adam(1e-2)
  params = model.init(jax.random.key(0), jnp.zeros((1,), jnp.int32))
  opt_state, reference = tx.init(params), params
  first = jnp.repeat(jnp.arange(PROMPTS) % WORDS, SAMPLES)
  mask = jnp.ones((PROMPTS * SAMPLES, LENGTH))

  def logps(params, completion):
    before = jnp.concatenate([first[:, None], completion[:, :-1]], axis=1)
    law = jax.nn.log_softmax(model.apply(params, before))
    return jnp.take_along_axis(law, completion[..., None], axis=-1)[..., 0]

  @jax.jit
  def step(params, opt_state, key):
    completion, old_logp = draw(model, params, first, key)
    rewards = jnp.mean(completion == first[:, None], axis=-1)
    adv = estimator(rewards.reshape(PROMPTS, SAMPLES)).reshape(-1, 1)

    def loss(params):
      logp = logps(params, completion)
      policy = surrogates.clipped(ratios.token(logp, old_logp), adv, 0.2, 0.28)
      penalty = divergences.k3(logp, logps(reference, completion))
      return jnp.sum(aggregation.token_mean(Batch(mask=mask)) * (policy + 1e-3 * penalty))

    for _ in range(2):
      updates, opt_state = tx.update(jax.grad(loss)(params), opt_state, params)
      params = optax.apply_updates(params, updates)
    return params, opt_state, rewards.mean()

  seen = []
  for k in jax.random.split(jax.random.key(1), steps):
    params, opt_state, reward = step(params, opt_state, k)
    seen.append(float(reward))
  return np.array(seen)


def test_a_linen_model_learns_with_our_functions():
  seen = train(60)
  assert seen[0] < 0.3
  assert seen[-5:].mean() > 0.9


def test_it_learns_from_the_advantages_alone():
  seen = train(10, estimator=jnp.zeros_like)
  assert seen[-3:].mean() < 0.3
