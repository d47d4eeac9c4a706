import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import assert_close, both_precisions, exact, run

from rljax import advantages, groups


def rows(seed, fillers=0):
  """Steps of episodes of 1 to 5 steps of three tasks, shuffled; `fillers` rows are no step."""
  rng = np.random.default_rng(seed)
  found = []
  for task, episodes in enumerate((4, 3, 1)):
    for episode in range(episodes):
      reward = rng.choice([0.0, 10.0])
      for step in range(rng.integers(1, 6)):
        found.append((reward, rng.choice([0.0, -0.1, 1.0]), task, episode, step, rng.integers(3)))
  found += [(99.0, 99.0, 0, -1, 0, 0)] * fillers
  table = np.array(found)[rng.permutation(len(found))]
  floats, ids = table[:, :2], table[:, 2:].astype(np.int32)
  return (*exact(floats).T, *ids.T)


def slow_returns(rewards, task, trajectory, step, gamma):
  found = np.zeros(len(rewards))
  for i in range(len(rewards)):
    later = [
      (step[j], rewards[j])
      for j in range(len(rewards))
      if (task[j], trajectory[j]) == (task[i], trajectory[i]) and step[j] >= step[i]
    ]
    found[i] = sum(gamma**n * r for n, (_, r) in enumerate(sorted(later)))
  return found


def moments(values, ddof):
  mean = values[0] if len(set(values)) == 1 else sum(values) / len(values)
  if len(values) <= ddof:
    return mean, 0.0
  return mean, np.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - ddof))


def slow_gigpo(rewards, step_rewards, task, trajectory, step, state, scaled, every, weight, gamma):
  real = [i for i in range(len(task)) if trajectory[i] >= 0]
  returns = slow_returns(step_rewards, task, trajectory, step, gamma)
  found = np.zeros(len(task))
  for i in real:
    of_task = [j for j in real if task[j] == task[i]]
    counted = [j for j in of_task if every or step[j] == 0]
    mean, deviation = moments([rewards[j] for j in counted], 1)
    if len(counted) == 1:
      mean, deviation = 0.0, 1.0
    episode = (rewards[i] - mean) / (deviation + 1e-6 if scaled else 1)
    equals = [returns[j] for j in of_task if state[j] == state[i]]
    mean, deviation = moments(equals, 1)
    if len(equals) == 1:
      deviation = 1.0
    among = (returns[i] - mean) / (deviation + 1e-6 if scaled else 1)
    found[i] = episode + weight * among
  return found


def slow_contexts(task, trajectory, step, state, depth):
  """Tuples of the last states by row and level, None where there are not as many."""
  found = []
  for i in range(len(task)):
    path = sorted(
      (step[j], state[j])
      for j in range(len(task))
      if (task[j], trajectory[j]) == (task[i], trajectory[i]) and step[j] <= step[i]
    )
    history = [s for _, s in path]
    found.append(
      [
        tuple(history[-k - 1 :]) if len(history) > k and trajectory[i] >= 0 else None
        for k in range(depth + 1)
      ]
    )
  return found


def slow_hgpo(returns, contexts, task, scaled, alpha, offset, base=None, eps=1e-6):
  found = np.zeros(len(returns))
  for i in range(len(returns)):
    levels = [] if base is None or base[i] == 0 else [(1.0, base[i])]
    for k, context in enumerate(contexts[i]):
      members = [
        returns[j]
        for j in range(len(returns))
        if context is not None and task[j] == task[i] and contexts[j][k] == context
      ]
      if len(members) > 1:
        mean, deviation = moments(members, 0)
        a = (returns[i] - mean) / (deviation + eps if scaled else 1)
        if a != 0:
          levels.append(((k + offset) ** alpha, a))
    if levels:
      found[i] = sum(w * a for w, a in levels) / (sum(w for w, _ in levels) + eps)
  return found


@pytest.mark.parametrize('seed', range(3))
def test_a_partition_has_one_dense_id_for_equal_keys(seed):
  rng = np.random.default_rng(seed)
  keys = rng.integers(-2, 3, (3, 30))
  ids = np.asarray(jax.jit(groups.partition)(*keys))
  found = {}
  for i, key in enumerate(zip(*keys, strict=True)):
    assert found.setdefault(key, ids[i]) == ids[i]
  assert sorted(found.values()) == list(range(len(found)))


@both_precisions
def test_step_returns_equal_a_loop(dtype, tolerance):
  _, rewards, task, trajectory, step, _ = rows(0)
  path = groups.partition(jnp.asarray(task), jnp.asarray(trajectory))
  expected = slow_returns(rewards, task, trajectory, step, 0.9)
  found = run(lambda *a: advantages.step_returns(*a, gamma=0.9), dtype, rewards, path, step)
  assert_close(found, expected, tolerance, each=False)
  assert len(set(expected)) > 5


@both_precisions
@pytest.mark.parametrize('scaled', [False, True])
@pytest.mark.parametrize('every', [False, True])
def test_gigpo_equals_a_loop(dtype, tolerance, scaled, every):
  counted = advantages.every_step if every else advantages.trajectory_starts
  fn = advantages.gigpo_scaled if scaled else advantages.gigpo
  data = rows(0, fillers=3)
  expected = slow_gigpo(*data, scaled, every, 0.5, 0.9)
  found = run(lambda *a: fn(*a, weight=0.5, gamma=0.9, counted=counted), dtype, *data)
  assert_close(found, expected, tolerance, each=False)
  np.testing.assert_array_equal(found[data[3] < 0], 0)
  assert np.abs(expected).max() > 1


@pytest.mark.parametrize('fn', [advantages.gigpo, advantages.gigpo_scaled])
def test_equal_rewards_give_exactly_zero_whatever_the_episodes_length(fn):
  ids = [jnp.asarray(x) for x in ([0] * 6, [0, 0, 0, 1, 1, 2], [0, 1, 2, 0, 1, 0], [7] * 6)]
  tried = jax.jit(lambda x: fn(x, x, *ids, gamma=0.0))
  for value in (0.1, 1 / 3, 5.0):
    np.testing.assert_array_equal(tried(jnp.full((6,), value)), 0.0)


def test_gigpo_of_states_seen_once_is_the_episode_advantage():
  ids = [jnp.asarray(x) for x in ([0, 0, 0], [0, 1, 1], [0, 0, 1], [1, 2, 3])]
  found = advantages.gigpo(jnp.array([1.0, 0.0, 0.0]), jnp.array([5.0, 7.0, -1.0]), *ids)
  np.testing.assert_array_equal(found, [0.5, -0.5, -0.5])


def test_the_only_episode_of_a_task_keeps_its_reward():
  ids = [jnp.asarray(x) for x in ([0, 0], [0, 0], [0, 1], [1, 2])]
  data = jnp.array([10.0, 10.0]), jnp.array([0.0, 1.0])
  np.testing.assert_allclose(advantages.gigpo(*data, *ids), 10.0)
  np.testing.assert_allclose(advantages.gigpo_scaled(*data, *ids), 10.0, rtol=2e-6)
  # Counted by steps there are two equal entries, and nothing stands out.
  each = advantages.gigpo(*data, *ids, counted=advantages.every_step)
  np.testing.assert_array_equal(each, 0.0)


def test_an_episode_counts_once_however_long_it_is():
  ids = [jnp.asarray(x) for x in ([0] * 4, [0, 0, 0, 1], [0, 1, 2, 0], [1, 2, 3, 4])]
  rewards, none = jnp.array([1.0, 1.0, 1.0, 0.0]), jnp.zeros(4)
  np.testing.assert_allclose(advantages.gigpo(rewards, none, *ids), [0.5, 0.5, 0.5, -0.5])
  each = advantages.gigpo(rewards, none, *ids, counted=advantages.every_step)
  np.testing.assert_allclose(each, [0.25, 0.25, 0.25, -0.75])


def test_contexts_agree_where_histories_do():
  _, _, task, trajectory, step, state = rows(1, fillers=2)
  path = groups.partition(jnp.asarray(task), jnp.asarray(trajectory))
  path = jnp.where(trajectory >= 0, path, -1)
  found = np.asarray(jax.jit(lambda *a: advantages.contexts(*a, depth=2))(state, path, step))
  expected = slow_contexts(task, trajectory, step, state, 2)
  assert (found >= 0).any(axis=0).all() and (found < 0).any(axis=0).all()
  for k in range(3):
    for i in range(len(task)):
      assert (found[i, k] < 0) == (expected[i][k] is None)
      for j in range(len(task)):
        if expected[i][k] is not None:
          assert (found[i, k] == found[j, k]) == (expected[i][k] == expected[j][k])


@both_precisions
@pytest.mark.parametrize('scaled', [False, True])
@pytest.mark.parametrize(('alpha', 'offset', 'with_base'), [(1.0, 2.0, False), (2.0, 1.0, True)])
def test_hgpo_equals_a_loop(dtype, tolerance, scaled, alpha, offset, with_base):
  fn = advantages.hgpo if scaled else advantages.hgpo_centered
  rng = np.random.default_rng(0)
  _, _, task, trajectory, step, state = rows(0, fillers=2)
  returns = exact(rng.normal(size=len(task)))
  base = exact(rng.normal(size=len(task)) * (rng.random(len(task)) < 0.8))
  base = (base,) if with_base else ()
  tuples = slow_contexts(task, trajectory, step, state, 2)
  named = {c: n for n, c in enumerate({c for levels in tuples for c in levels if c})}
  context = np.array([[named.get(c, -1) for c in levels] for levels in tuples])
  expected = slow_hgpo(returns, tuples, task, scaled, alpha, offset, *base)

  def tried(*arrays):
    return fn(*arrays, alpha=alpha, offset=offset)

  assert_close(run(tried, dtype, returns, context, task, *base), expected, tolerance, each=False)
  assert np.abs(expected).max() > 0.3


def test_deeper_levels_weigh_two_to_three_to_four():
  # One pair that agrees at every level and one member more at each shallower one.
  context = jnp.array([[0, 0, 0], [0, 0, 0], [0, 0, -1], [0, -1, -1]])
  returns, task = jnp.array([1.0, 0.0, 0.0, 0.0]), jnp.zeros(4, jnp.int32)
  found = advantages.hgpo_centered(returns, context, task, eps=0.0)
  assert float(found[0]) == pytest.approx((2 * 3 / 4 + 3 * 2 / 3 + 4 * 1 / 2) / 9)
  papers = advantages.hgpo_centered(returns, context, task, eps=0.0, offset=1.0)
  assert float(papers[0]) == pytest.approx((1 * 3 / 4 + 2 * 2 / 3 + 3 * 1 / 2) / 6)


@pytest.mark.parametrize('fn', [advantages.hgpo, advantages.hgpo_centered])
def test_steps_alone_at_every_level_and_equal_returns_give_exactly_zero(fn):
  alone = fn(jnp.array([3.0, 4.0]), jnp.array([[0, 0], [1, 1]]), jnp.array([0, 0]))
  np.testing.assert_array_equal(alone, 0.0)
  other_task = fn(jnp.array([3.0, 4.0]), jnp.array([[0], [0]]), jnp.array([0, 1]))
  np.testing.assert_array_equal(other_task, 0.0)
  equal = fn(jnp.full((3,), 0.1), jnp.zeros((3, 2), jnp.int32), jnp.zeros(3, jnp.int32))
  np.testing.assert_array_equal(equal, 0.0)
