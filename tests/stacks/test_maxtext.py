"""From MaxText: its GRPO loss with our functions in the place of its formulas.

There a loss is `(model, config, data, rng, params, reference_params, is_train) -> (loss, aux)`, its
gradient is taken in argument 4, and token log-probabilities are `[B * G, S - 1]` over prompts and
completions, of which `data['ar_completions_segmentation']` marks the completions. Its GRPO trainer
was read for this; nothing of MaxText is installed or run.
"""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import exact

from rljax import advantages, aggregation, divergences, ratios, surrogates
from rljax.types import Batch

ROWS, G, LENGTH, WORDS = 6, 3, 9, 7
CONFIG = types.SimpleNamespace(num_generations=G, grpo_epsilon=0.2, grpo_beta=0.04)
EPS = 1e-8  # beside its deviation, which divides by the number of members


def apply(params, tokens):
  """Log-probability of each token given the one before it, `[B, S - 1]`: a table for a model."""
  law = jax.nn.log_softmax(params['table'][tokens[:, :-1]], axis=-1)
  return jnp.take_along_axis(law, tokens[:, 1:, None], axis=-1)[..., 0]


def loss_fn(model, config, data, rng, params, reference_params, is_train=True):
  """The loss as MaxText calls it; what is computed from log-probabilities on is ours."""
  del rng, is_train
  logp = model(params, data['prompt_completions'])
  mask = (data['ar_completions_segmentation'][..., 1:] != 0).astype(logp.dtype)
  groups = data['rewards'].reshape(-1, config.num_generations)
  adv = advantages.grpo(groups, ddof=0, eps=EPS).reshape(-1, 1)
  ratio = ratios.token(logp, data['completions_logprobs'])
  tokens = surrogates.clipped(ratio, adv, config.grpo_epsilon, config.grpo_epsilon)
  penalty = divergences.k3(logp, model(reference_params, data['prompt_completions']))
  weights = aggregation.sequence_mean(Batch(mask=mask))
  loss = jnp.sum(weights * (tokens + config.grpo_beta * penalty))
  return loss, {'total_loss': loss, 'avg_kl': jnp.sum(weights * penalty)}


def example(seed, stale):
  """A batch as its rollout leaves it, and parameters of policy and reference."""
  rng = np.random.default_rng(seed)
  prompt, length = rng.integers(2, 4, ROWS), rng.integers(1, 6, ROWS)
  places = np.arange(LENGTH)
  completion = (places >= prompt[:, None]) & (places < (prompt + length)[:, None])
  there = places < (prompt + length)[:, None]
  tokens = np.where(there, rng.integers(1, WORDS, (ROWS, LENGTH)), 0)
  policy, reference, older = (exact(rng.normal(size=(WORDS, WORDS))) for _ in range(3))
  rewards = exact(rng.random(ROWS))
  rewards[:G] = 0.1  # a group without spread
  data = {
    'prompt_completions': tokens,
    'ar_completions_segmentation': completion.astype(np.int32),
    'rewards': rewards,
    'completions_logprobs': exact(slow_logps(0.7 * policy + 0.3 * older, tokens))
    if stale
    else None,
  }
  return data, policy, reference


def slow_logps(table, tokens):
  found = np.zeros((len(tokens), LENGTH - 1))
  for i, row in enumerate(tokens):
    for t in range(1, LENGTH):
      logits = table[row[t - 1]]
      found[i, t - 1] = logits[row[t]] - np.log(np.exp(logits).sum())
  return found


def slow_loss(data, table, reference, old):
  """Its formulas in float64, sequence by sequence."""
  tokens, rewards = data['prompt_completions'], data['rewards']
  logp, ref = slow_logps(table, tokens), slow_logps(reference, tokens)
  total = 0.0
  for i in range(ROWS):
    group = rewards[i // G * G : i // G * G + G]
    adv = (rewards[i] - group.mean()) / (group.std() + EPS) if np.ptp(group) else 0.0
    values = []
    for t in range(LENGTH - 1):
      if not data['ar_completions_segmentation'][i, t + 1]:
        continue
      ratio = np.exp(logp[i, t] - old[i, t])
      clipped = min(max(ratio, 1 - CONFIG.grpo_epsilon), 1 + CONFIG.grpo_epsilon)
      gap = ref[i, t] - logp[i, t]
      values.append(-min(ratio * adv, clipped * adv) + CONFIG.grpo_beta * (np.exp(gap) - gap - 1))
    total += sum(values) / len(values) / ROWS
  return total


@pytest.mark.parametrize('stale', [False, True], ids=['on-policy', 'completions_logprobs'])
def test_its_loss_and_gradient_are_those_of_its_formulas(stale):
  data, table, reference = example(0, stale)
  old = slow_logps(table, data['prompt_completions']) if not stale else data['completions_logprobs']
  with jax.enable_x64(True):
    arrays = jax.tree.map(jnp.asarray, data)
    gradient = jax.jit(jax.value_and_grad(loss_fn, argnums=4, has_aux=True), static_argnums=(0, 1))
    (loss, aux), slopes = gradient(
      apply,
      Static(CONFIG),
      arrays,
      jax.random.key(0),
      {'table': jnp.asarray(table)},
      {'table': jnp.asarray(reference)},
    )
    slopes = np.asarray(slopes['table'])
  assert float(loss) == pytest.approx(slow_loss(data, table, reference, old), rel=1e-9)
  assert float(aux['avg_kl']) > 0.01
  wanted, h = np.zeros_like(table), 1e-6
  for at in np.ndindex(table.shape):
    step = np.zeros_like(table)
    step[at] = h
    up, down = (slow_loss(data, table + s, reference, old) for s in (step, -step))
    wanted[at] = (up - down) / (2 * h)
  assert np.abs(wanted).max() > 0.01
  np.testing.assert_allclose(slopes, wanted, atol=1e-7)


class Static:
  """A configuration that jit may compare."""

  def __init__(self, config):
    self.__dict__.update(vars(config))


def test_its_accumulation_of_gradients_works_with_it():
  """Parts of the batch in a loop, as its train step takes them where `data` has a leading axis."""
  data, table, reference = example(1, True)
  params, reference = ({'table': jnp.float32(x)} for x in (table, reference))
  data = {k: jnp.asarray(np.float32(v) if v.dtype == np.float64 else v) for k, v in data.items()}
  gradient = jax.value_and_grad(functools.partial(loss_fn, apply, CONFIG), argnums=2, has_aux=True)
  parts = jax.tree.map(lambda x: x.reshape(2, ROWS // 2, *x.shape[1:]), data)

  def accumulate(total, part):
    _, slopes = gradient(part, None, params, reference)
    return jax.tree.map(jnp.add, total, slopes), None

  zeros = jax.tree.map(jnp.zeros_like, params)
  found, _ = jax.jit(lambda parts: jax.lax.scan(accumulate, zeros, parts))(parts)
  _, expected = gradient(data, None, params, reference)
  # Every part is a mean over as many sequences.
  np.testing.assert_allclose(found['table'] / 2, expected['table'], rtol=1e-4, atol=1e-7)
  assert np.abs(expected['table']).max() > 0.01
