"""GRPO on rewards that the length of a completion moves."""

from __future__ import annotations

import jax.numpy as jnp

from rljax import shaping
from rljax.methods.combinators import with_rewards
from rljax.methods.grpo import grpo
from rljax.methods.reading import correct, extra
from rljax.types import Method


def cosine_length(
  *,
  max_length: int,
  right_short: float = 2.0,
  right_long: float = 1.0,
  wrong_short: float = -10.0,
  wrong_long: float = 0.0,
  exceeded: float = -10.0,
  margin: int = 16,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Method:
  """Less for long right answers and more for long wrong ones, along half a cosine.

  The source trains with PPO: `with_rewards` gives its reward, `shaping.cosine_length`, to `ppo`.

  Args:
    max_length: longest completion, in tokens.
    right_short: reward of a right answer of length 0.
    right_long: what it falls to at `max_length`.
    wrong_short: reward of a wrong answer of length 0.
    wrong_long: what it rises to at `max_length`.
    exceeded: reward, right or wrong, from `margin` tokens before `max_length` on.
    margin: in tokens.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2502.03373; follows the authors' openrlhf/reward/cosine.py.
  """

  def rewards(batch):
    return shaping.cosine_length(
      correct(batch),
      batch.lengths,
      limit=max_length,
      right_short=right_short,
      right_long=right_long,
      wrong_short=wrong_short,
      wrong_long=wrong_long,
      exceeded=exceeded,
      margin=margin,
    )

  return with_rewards(rewards, grpo(clip_low=clip_low, clip_high=clip_high))


def laser(
  *, target: float, alpha: float = 0.5, clip_low: float = 0.2, clip_high: float = 0.28
) -> Method:
  """A bonus for right answers that keep to a target length.

  Args:
    target: in tokens; the authors' runs have 2048 to 8192.
    alpha: the bonus.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2505.15612; clip ranges of the authors' scripts, whose KL and entropy terms
  (`kl_to_reference`, `entropy_bonus`) are the caller's to add.
  """

  def rewards(batch):
    return shaping.laser(correct(batch), batch.lengths, target=target, alpha=alpha)

  return with_rewards(rewards, grpo(clip_low=clip_low, clip_high=clip_high))


def a2fm(
  *, alpha: float = 2.0, tau: float = 1 / 3, clip_low: float = 0.2, clip_high: float = 0.2
) -> Method:
  """Less reward for reasoning and tools where an answer at once would do.

  Reads `batch.extras['modes']`, `shaping.INSTANT`, `REASONING` or `AGENTIC`, and
  `batch.extras['instant_accuracy']`, the accuracy of the prompt's forced instant responses, both
  `[*N]`. A response of the wrong format counts as wrong in `extras['correct']`. Forcing modes,
  three responses in each and three free ones, is the rollout's part.

  Args:
    alpha: how fast the reward falls with that accuracy.
    tau: accuracy that an easy prompt exceeds.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2510.12838, a reconstruction as in `shaping.a2fm`; the loss is GRPO's without KL.
  """

  def rewards(batch):
    modes = extra(batch, 'modes', 'how each response was given')
    accuracy = extra(batch, 'instant_accuracy', "accuracy of the prompt's forced instant responses")
    return shaping.a2fm(correct(batch), modes, accuracy, alpha=alpha, tau=tau)

  method = with_rewards(rewards, grpo(clip_low=clip_low, clip_high=clip_high))
  return method._replace(needs=('modes', 'instant_accuracy'))


def hapo_length(
  *,
  prompts: int,
  weight: float = 1.0,
  floor: float = -0.7,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Method:
  """Responses against the shortest right answer that their prompt ever had, which is the state.

  Reads `batch.extras['prompt_id']`, `[*N]`, in [0, prompts). What a batch adds to the memory is
  known from the next one on. Not the HAPO of entropies (`hapo`).

  Args:
    prompts: number of prompts in the data.
    weight: of the length.
    floor: the least that a right answer earns for its length.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2505.11225, from one secondary account of it; the loss is GRPO's.
  """
  memory = shaping.shortest_correct(prompts)
  method = grpo(clip_low=clip_low, clip_high=clip_high)

  def init():
    return {'shortest': memory.init(), 'inner': method.init()}

  def prepare(state, batch):
    prompt = extra(batch, 'prompt_id', "the number of each completion's prompt in the data")
    right, lengths = correct(batch), batch.lengths
    shortest, known = memory.update(state['shortest'], (prompt.astype(jnp.int32), right, lengths))
    rewards = shaping.hapo_length(right, lengths, known, weight=weight, floor=floor)
    inner, batch = method.prepare(state['inner'], batch.replace(rewards=rewards))
    return {'shortest': shortest, 'inner': inner}, batch

  return method._replace(init=init, prepare=prepare, needs=('prompt_id',))
