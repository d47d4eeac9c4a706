"""GiGPO and HGPO: agents whose steps are compared with other steps from the same state.

A row of the batch is one step of an agent: what it saw is the prompt, what it did the completion.
The group of a row is its task. Both layouts serve; tasks of unequal numbers of steps need rows.
Every row carries `batch.extras`:

- `step_rewards`, `[*N]`: reward of the step, such as a penalty for an invalid action.
- `trajectory`, int `[*N]`: which of the task's episodes it belongs to; negative on rows that only
  fill up the batch.
- `step`, `[*N]`: its order in the episode.
- `state`, int `[*N]`: a hash of what was seen, equal for equal states of a task.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rljax import advantages, aggregation, groups
from rljax.methods.combinators import stateless
from rljax.methods.reading import extra
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Batch, Method


def gigpo(
  *,
  weight: float = 1.0,
  gamma: float = 0.95,
  counted: Callable[[jax.Array, jax.Array], jax.Array] = advantages.trajectory_starts,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Method:
  """Group-in-group policy optimisation: episodes in a task, and steps from equal states, centred.

  Reads the extras above; `batch.rewards` is the reward of the row's whole episode.

  Args:
    weight: of the step advantage.
    gamma: discount of a step.
    counted: which rows make a task's mean: `advantages.trajectory_starts`, each episode once, or
      `advantages.every_step`, as often as it has steps.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2505.10978. The default of verl-agent's code is `every_step`; the paper counts once.
  """

  def estimate(*rows):
    return advantages.gigpo(*rows, weight=weight, gamma=gamma, counted=counted)

  return _agent(estimate, clip_low, clip_high)


def gigpo_scaled(
  *,
  weight: float = 1.0,
  gamma: float = 0.95,
  eps: float = 1e-6,
  counted: Callable[[jax.Array, jax.Array], jax.Array] = advantages.trajectory_starts,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Method:
  """`gigpo` with both advantages over their unbiased deviation plus `eps`."""

  def estimate(*rows):
    return advantages.gigpo_scaled(*rows, weight=weight, gamma=gamma, eps=eps, counted=counted)

  return _agent(estimate, clip_low, clip_high)


def hgpo(
  *,
  depth: int = 2,
  alpha: float = 1.0,
  gamma: float = 0.95,
  offset: float = 2.0,
  eps: float = 1e-6,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Method:
  """Hierarchy-of-groups policy optimisation: equal states, refined by equal histories of states.

  Reads the extras above and no episode reward: a success is a reward of the episode's last step.

  Args:
    depth: earlier states that the finest groups share.
    alpha: 0 weighs all levels alike, more favours the deep ones.
    gamma: discount of a step.
    offset: level k weighs `(k + offset)**alpha`; 1 is the paper's, 2 the code's.
    eps: added to deviations and to the sum of the weights.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2602.22817; the weights follow the authors' core_hgpo.py.
  """
  return _hgpo(advantages.hgpo, depth, alpha, gamma, offset, eps, clip_low, clip_high)


def hgpo_centered(
  *,
  depth: int = 2,
  alpha: float = 1.0,
  gamma: float = 0.95,
  offset: float = 2.0,
  eps: float = 1e-6,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Method:
  """`hgpo` without the division by deviations."""
  return _hgpo(advantages.hgpo_centered, depth, alpha, gamma, offset, eps, clip_low, clip_high)


def _hgpo(among_equals, depth, alpha, gamma, offset, eps, clip_low, clip_high):
  def estimate(rewards, step_rewards, task, trajectory, step, state):
    del rewards
    path = jnp.where(trajectory >= 0, groups.partition(task, trajectory), -1)
    returns = advantages.step_returns(step_rewards, path, step, gamma=gamma)
    context = advantages.contexts(state, path, step, depth=depth)
    return among_equals(returns, context, task, alpha=alpha, offset=offset, eps=eps)

  return _agent(estimate, clip_low, clip_high)


def _agent(estimate, clip_low, clip_high):
  """The method whose advantages are `estimate` of flat rows, the same on all tokens of a row."""

  def prepare(batch):
    rows = (
      batch.rewards,
      extra(batch, 'step_rewards', 'the reward of each step, [*N]'),
      _task(batch),
      extra(batch, 'trajectory', 'the id of the episode that each step belongs to, [*N]'),
      extra(batch, 'step', 'the order of each step in its episode, [*N]'),
      extra(batch, 'state', 'an id of the state that each step saw, [*N]'),
    )
    found = estimate(*(x.reshape(-1) for x in rows))
    return batch.replace(advantages=found.reshape(*batch.rewards.shape, 1))

  method = stateless(
    prepare, **policy_terms(token_ratio, clip_low, clip_high, aggregation.token_mean)
  )
  return method._replace(needs=('state', 'step', 'step_rewards', 'trajectory'))


def _task(batch: Batch) -> jax.Array:
  """The group of each sequence, `[*N]`, in either layout."""
  if batch.group is not None:
    return batch.group
  return jax.lax.broadcasted_iota(jnp.int32, batch.rewards.shape, 0)
