"""GRPO under noise, to see how much of it a method bears."""

from __future__ import annotations

from functools import partial

import jax

from rljax import shaping
from rljax.groups import per_group
from rljax.methods.grpo import grpo
from rljax.methods.reading import correct
from rljax.types import Method


def noisy_grpo(
  *,
  probability: float,
  seed: int = 0,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  eps: float = 1e-6,
) -> Method:
  """GRPO on correctness of which whole groups are flipped: right is wrong and wrong is right there.

  State is the key that the coins of the next batch are drawn with, as its data.

  Args:
    probability: of a flip, for each group of each batch.
    seed: of the coins.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the group's deviation.

  Source: reward_manager/naive.py of the authors
  (github.com/trestad/Noisy-Rewards-in-Learning-to-Reason).
  """
  method = grpo(clip_low=clip_low, clip_high=clip_high, eps=eps)

  def prepare(state, batch):
    key, coins = jax.random.split(jax.random.wrap_key_data(state))
    flip = partial(shaping.group_flip, coins, probability=probability)
    _, batch = method.prepare((), batch.replace(rewards=per_group(flip, batch)(correct(batch))))
    return jax.random.key_data(key), batch

  return method._replace(init=lambda: jax.random.key_data(jax.random.key(seed)), prepare=prepare)
