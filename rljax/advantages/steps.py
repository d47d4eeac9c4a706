"""Advantages of an agent's steps: rows `[B]`, one per step, that belong to trajectories and tasks.

Besides a reward a row has ids of any integer type: its `task` (the prompt), its `trajectory`, its
`step` (its order in the trajectory) and its `state` (a hash of what was seen). Trajectory and state
ids need to differ within a task only. Groups of equal states are of any size and in any order;
everything here is a segment sum with the static bound B. A row with a negative trajectory is no
step: it enters no statistic and gets 0, so a batch may be padded to a fixed number of rows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from rljax import groups, stats


def step_returns(
  rewards: jax.Array, trajectory: jax.Array, step: jax.Array, *, gamma: float | jax.Array = 0.95
) -> jax.Array:
  """Discounted sum of the rewards of a trajectory from each step on, `[B]`.

  Args:
    rewards: `[B]`, of the steps.
    trajectory: `[B]`, different for all trajectories of the batch (`groups.partition`).
    step: `[B]`; only the order counts.
    gamma: discount per step.

  Source: arXiv 2505.10978, equation 5.

  >>> rows = [jnp.array(x) for x in ([4.0, 1.0, 2.0], [0, 1, 0], [1, 0, 0])]
  >>> step_returns(*rows, gamma=0.5)
  Array([4., 1., 4.], dtype=float32)
  """
  chex.assert_rank(rewards, 1)
  chex.assert_equal_shape([rewards, trajectory, step])
  rewards = stats.as_float(rewards)
  order = jnp.lexsort((step, trajectory))
  path = trajectory[order]
  goes_on = jnp.concatenate([path[:-1] == path[1:], path[:1] != path[:1]])
  discount = jnp.where(goes_on, jnp.full_like(rewards, gamma), 0)

  def join(later, earlier):  # a return is affine in the return of the next step
    return later[0] * earlier[0], earlier[0] * later[1] + earlier[1]

  _, returns = jax.lax.associative_scan(join, (discount, rewards[order]), reverse=True)
  return jnp.zeros_like(returns).at[order].set(returns)


def trajectory_starts(trajectory: jax.Array, step: jax.Array) -> jax.Array:
  """1 on the earliest row of each trajectory, `[B]`: every trajectory counts once."""
  order = jnp.lexsort((step, trajectory))
  path = trajectory[order]
  first = jnp.concatenate([path[:1] == path[:1], path[1:] != path[:-1]])
  return jnp.zeros_like(first).at[order].set(first).astype(jnp.float32)


def every_step(trajectory: jax.Array, step: jax.Array) -> jax.Array:
  """1 on every row, `[B]`: a trajectory counts as often as it has steps."""
  del step
  return jnp.ones_like(trajectory, dtype=jnp.float32)


Counted = Callable[[jax.Array, jax.Array], jax.Array]


def gigpo(
  rewards: jax.Array,
  step_rewards: jax.Array,
  task: jax.Array,
  trajectory: jax.Array,
  step: jax.Array,
  state: jax.Array,
  *,
  weight: float = 1.0,
  gamma: float = 0.95,
  counted: Counted = trajectory_starts,
) -> jax.Array:
  """Episode advantage in the task plus `weight` times step advantage among equal states, centred.

  The second compares the discounted return of a step with those of all steps of the task that were
  taken in the same state.

  Args:
    rewards: `[B]`, reward of the row's whole trajectory, the same on all its rows.
    step_rewards: `[B]`, reward of the row's step.
    task: `[B]`.
    trajectory: `[B]`.
    step: `[B]`.
    state: `[B]`.
    weight: of the step advantage.
    gamma: discount of a step.
    counted: `(trajectory, step) -> [B]`, the rows whose `rewards` make the task's mean.
  Returns:
    `[B]`. A state that was seen once adds 0. The only counted trajectory of a task keeps its reward
    as it is: as in the code, mean 0 and deviation 1 are taken there.

  Source: arXiv 2505.10978, equations 3, 5, 7 and 8. verl-agent's core_gigpo.py counts a trajectory
  once per step unless told otherwise (`every_step`); the paper and this, once.

  >>> rows = [jnp.array(x) for x in ([0, 0, 0], [0, 1, 1], [0, 0, 1], [5, 5, 6])]
  >>> gigpo(jnp.array([1.0, 0.0, 0.0]), jnp.array([1.0, 0.0, 0.0]), *rows)
  Array([ 1. , -1. , -0.5], dtype=float32)
  """
  rows = (rewards, step_rewards, task, trajectory, step, state)
  return _gigpo(*rows, weight, gamma, counted, lambda deviation: jnp.ones_like(deviation))


def gigpo_scaled(
  rewards: jax.Array,
  step_rewards: jax.Array,
  task: jax.Array,
  trajectory: jax.Array,
  step: jax.Array,
  state: jax.Array,
  *,
  weight: float = 1.0,
  gamma: float = 0.95,
  eps: float = 1e-6,
  counted: Counted = trajectory_starts,
) -> jax.Array:
  """`gigpo` with both advantages over their unbiased deviation plus `eps`; "mean_std_norm"."""
  rows = (rewards, step_rewards, task, trajectory, step, state)
  return _gigpo(*rows, weight, gamma, counted, lambda deviation: deviation + eps)


def contexts(
  state: jax.Array, trajectory: jax.Array, step: jax.Array, *, depth: int = 2
) -> jax.Array:
  """What an agent had seen, as ids `[B, depth + 1]`: column k is of the last k + 1 states.

  Args:
    state: `[B]`.
    trajectory: `[B]`, different for all trajectories of the batch (`groups.partition`).
    step: `[B]`; only the order counts.
    depth: earlier states that the last column remembers.
  Returns:
    int `[B, depth + 1]`, equal in a column exactly where those states are; -1 where the trajectory
    has not seen as many, and for rows that are no step.

  >>> ids = [jnp.array(x) for x in ([5, 6, 5, 6], [0, 0, 1, 1], [0, 1, 0, 1])]
  >>> contexts(*ids, depth=1)
  Array([[ 0, -1],
         [ 1,  0],
         [ 0, -1],
         [ 1,  0]], dtype=int32)
  """
  chex.assert_rank(state, 1)
  chex.assert_equal_shape([state, trajectory, step])
  order = jnp.lexsort((step, trajectory))
  path, seen = trajectory[order], groups.partition(state)[order]
  position = jnp.arange(order.shape[0])
  columns = [seen]
  for k in range(1, depth + 1):
    remembered = (jnp.roll(path, k) == path) & (position >= k)
    longer = groups.partition(columns[-1], jnp.roll(seen, k))
    columns.append(jnp.where(remembered, longer, -1))
  table = jnp.where((path >= 0)[:, None], jnp.stack(columns, axis=-1), -1)
  return jnp.zeros_like(table).at[order].set(table)


def hgpo(
  returns: jax.Array,
  context: jax.Array,
  task: jax.Array,
  base: jax.Array | None = None,
  *,
  alpha: float = 1.0,
  offset: float = 2.0,
  eps: float = 1e-6,
) -> jax.Array:
  """Step advantages among equal states, averaged over ever longer histories of states.

  At level k a step is standardised (by the number of members) among the steps of its task with the
  same context of that depth. Levels at which it stands alone, or at the mean, are left out.

  Args:
    returns: `[B]`, discounted returns of the steps.
    context: int `[B, K + 1]`, ids of the contexts of depth 0 to K, negative where there is none.
    task: `[B]`.
    base: `[B]`, advantages of whole trajectories as one more level of weight 1; None: no such
      level.
    alpha: 0 weighs all levels alike, more favours the deep ones.
    offset: level k weighs `(k + offset)**alpha`.
    eps: added to deviations and to the sum of the weights.
  Returns:
    `[B]`; 0 for a step that is alone at every level.

  Source: arXiv 2602.22817, equation 7, whose weights begin at 1 (`offset=1`); the default is that
  of the authors' core_hgpo.py, with which the published runs were made.
  """
  scale = functools.partial(jnp.add, eps)
  return _hgpo(returns, context, task, base, alpha, offset, eps, scale)


def hgpo_centered(
  returns: jax.Array,
  context: jax.Array,
  task: jax.Array,
  base: jax.Array | None = None,
  *,
  alpha: float = 1.0,
  offset: float = 2.0,
  eps: float = 1e-6,
) -> jax.Array:
  """`hgpo` without the division by deviations, "mean_norm"; `eps` guards the weights alone."""
  return _hgpo(returns, context, task, base, alpha, offset, eps, jnp.ones_like)


def _gigpo(rewards, step_rewards, task, trajectory, step, state, weight, gamma, counted, scale):
  chex.assert_rank(rewards, 1)
  chex.assert_equal_shape([rewards, step_rewards, task, trajectory, step, state])
  real = trajectory >= 0
  path = groups.partition(task, trajectory)
  rewards = jnp.where(real, stats.as_float(rewards), 0)
  n, mean, deviation = _moments(
    rewards, groups.partition(task), real & (counted(path, step) > 0), ddof=1
  )
  alone = n == 1
  mean, deviation = jnp.where(alone, 0, mean), jnp.where(alone, 1, deviation)
  episode = (rewards - mean) / scale(deviation)

  returns = step_returns(jnp.where(real, step_rewards, 0), path, step, gamma=gamma)
  n, mean, deviation = _moments(returns, groups.partition(task, state), real, ddof=1)
  among_equals = (returns - mean) / scale(jnp.where(n == 1, 1, deviation))
  return jnp.where(real, episode + weight * among_equals, 0)


def _hgpo(returns, context, task, base, alpha, offset, eps, scale):
  chex.assert_rank([returns, context], [1, 2])
  chex.assert_equal_shape_prefix([returns, context, task], 1)
  returns = stats.as_float(returns)
  levels = [] if base is None else [(1.0, stats.as_float(base))]
  for k in range(context.shape[1]):
    real = context[:, k] >= 0
    segment = groups.partition(task, context[:, k])
    n, mean, deviation = _moments(returns, segment, real, ddof=0)
    found = jnp.where(real & (n > 1), (returns - mean) / scale(deviation), 0)
    levels.append(((k + offset) ** alpha, found))
  total = sum(weight * (found != 0) for weight, found in levels)
  return sum(weight * found for weight, found in levels) / (total + eps)


def _moments(x, segment, where, ddof):
  """Count, mean and deviation of the entries of each row's segment with `where` true, `[B]` each.

  The mean of equal entries is exactly that entry and their deviation exactly 0.
  """
  rows = x.shape[0]
  add = functools.partial(jax.ops.segment_sum, segment_ids=segment, num_segments=rows)
  n = add(where.astype(x.dtype))
  mean = add(jnp.where(where, x, 0)) / jnp.maximum(n, 1)
  high = jax.ops.segment_max(jnp.where(where, x, -jnp.inf), segment, num_segments=rows)
  low = jax.ops.segment_min(jnp.where(where, x, jnp.inf), segment, num_segments=rows)
  mean = jnp.where((n > 0) & (high <= low), high, mean)[segment]
  squares = add(jnp.where(where, x - mean, 0) ** 2)
  return n[segment], mean, jnp.sqrt(squares / jnp.maximum(n - ddof, 1))[segment]
