"""End to end on a toy: sample, reward, prepare, update; the reward must rise."""

import jax
import jax.numpy as jnp
import pytest

from rljax import methods, models, sampling, training
from rljax.types import Batch

WANTED, EOS, LENGTH = 3, 0, 6
MODEL = models.decoder(models.DecoderConfig(8, 16, 1, 2, 1, 8, 32))


def run(method, steps=40):
  """Mean share of the wanted token in the first completions and in the last ones."""
  tx = training.optimizers.adamw(1e-2)
  step = jax.jit(training.make_train_step(training.make_score(MODEL), method, tx), donate_argnums=0)
  prepare = jax.jit(method.prepare)
  prompt = jnp.tile(jnp.array([[1, 2]]), (4, 1))

  @jax.jit
  def draw(params, key):
    return sampling.sample(MODEL, params, prompt, key, group_size=8, max_new_tokens=LENGTH, eos=EOS)

  state = training.init_state(models.init(jax.random.key(0), MODEL.specs), tx, method)
  rewards = []
  for i in range(steps):
    drawn = draw(state.params, jax.random.fold_in(jax.random.key(1), i))
    mask = (drawn.completion >= 0).astype(jnp.float32)
    reward = (drawn.completion == WANTED).sum(-1) / LENGTH
    rewards.append(float(reward.mean()))
    batch = Batch(
      prompt=prompt[:, None],
      completion=drawn.completion,
      mask=mask,
      rewards=reward,
      truncated=drawn.truncated,
      behavior_logp=drawn.logp,
    )
    method_state, batch = prepare(state.method_state, batch)
    state, _ = step(state.replace(method_state=method_state), batch)
  return rewards[0], sum(rewards[-3:]) / 3


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('method', [methods.grpo(), methods.reinforce_pp()], ids=['grpo', 'pp'])
def test_reward_of_a_toy_task_rises(method):
  before, after = run(method)
  assert before < 0.4
  assert after > 0.8
