"""RED on rollouts and demonstrations, against loops in float64."""

import functools
import math

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from harness import as_batch, as_scores, loss_and_gradient, problem, shuffled

from rljax import methods, training
from rljax.training.train_step import cut

LIMIT, COEF = 5.0, 0.4
METHODS = {name: getattr(methods, name)(sft_coef=COEF) for name in ('red', 'red_sft')}


def entropies(p):
  return {'entropy': -0.7 * p['logp'] + 0.1}


def mean_entropy(p):
  w = loops.weights(p, 'token_mean')
  return sum(w[i, t] * entropies(p)['entropy'][i, t] for i, t in np.argwhere(w > 0))


def entropy_part(rollouts, demonstrations):
  """The weight of the first step: both averages start at 1 and move by a hundredth of the rest."""
  sft, rl = (abs(0.01 * (mean_entropy(p) - 1)) for p in (demonstrations, rollouts))
  return min(LIMIT, max(1.0, sft / (rl + 1e-8)))


def slow_red(rollouts, demonstrations):
  """Loss, gradients of both in logp, size."""
  loss, gradient, _, size = loops.grpo(rollouts)
  w = COEF * entropy_part(rollouts, demonstrations) * loops.weights(demonstrations, 'token_mean')
  slope = np.zeros(w.shape)
  own = loops.members(rollouts)
  for i, t in np.argwhere(w > 0):
    g = int(demonstrations['group'][i])
    beside = [j for j, h in enumerate(demonstrations['group']) if h == g]
    values = [float(rollouts['rewards'][j]) for j in own[g]]
    values += [float(demonstrations['rewards'][j]) for j in beside]
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    advantage = 0.0
    if min(values) < max(values):
      advantage = (float(demonstrations['rewards'][i]) - mean) / (deviation + 1e-6)
    accuracy = sum(rollouts['correct'][j] > 0 for j in own[g]) / len(own[g])
    logp = demonstrations['logp'][i, t]
    old = logp if demonstrations['old'] is None else demonstrations['old'][i, t]
    log_ratio = logp - accuracy * old
    value = -advantage * math.exp(max(-20.0, min(20.0, log_ratio)))
    loss += w[i, t] * value
    size += w[i, t] * abs(value)
    slope[i, t] = w[i, t] * value * (abs(log_ratio) <= 20)
  return loss, (gradient, slope), size


def slow_red_sft(rollouts, demonstrations):
  loss, gradient, _, size = loops.grpo(rollouts)
  accuracy = sum(rollouts['correct'] > 0) / len(rollouts['correct'])
  part = entropy_part(rollouts, demonstrations) * LIMIT ** (1 - 2 * accuracy)
  w = COEF * part * loops.weights(demonstrations, 'token_mean')
  imitation = -sum(w[i, t] * demonstrations['logp'][i, t] for i, t in np.argwhere(w > 0))
  return loss + imitation, (gradient, -w), size + abs(imitation)


SLOW = {'red': slow_red, 'red_sft': slow_red_sft}


@functools.partial(
  jax.jit, static_argnums=0, compiler_options={'xla_backend_optimization_level': 0}
)
def result(name, scores, batches):
  return loss_and_gradient(METHODS[name], scores, batches)


def problems(seed, sizes=(4, 4, 4, 4), more=(1, 1, 1, 1), on_policy=False):
  """Rollouts, the second group without a right answer and the third with no wrong one, and
  demonstrations of the same prompts, mostly right."""
  rollouts = problem(seed, list(sizes), keep=True)
  rollouts['correct'][rollouts['group'] == 2] = 1.0
  rollouts['correct'][rollouts['group'] == 1] = 0.0
  rollouts['rewards'] = rollouts['correct'].copy()
  demonstrations = problem(seed + 100, list(more), keep=False, extreme=False)
  demonstrations['rewards'] = np.ones(len(demonstrations['group']))
  demonstrations['rewards'][0] = 0.0
  both = rollouts, demonstrations
  return [{**p, 'old': None} for p in both] if on_policy else both


def start(both, layout, on_policy=False):
  names = ('rollouts', 'demonstrations')
  batches = {n: as_batch(p, layout, on_policy)[1] for n, p in zip(names, both, strict=True)}
  scores = {n: as_scores(p, layout, entropies) for n, p in zip(names, both, strict=True)}
  return scores, batches


SITUATIONS = {
  'groups': ('groups', {}),
  'groups, two demonstrations': ('groups', {'more': (2, 2, 2, 2)}),
  'groups, on-policy': ('groups', {'on_policy': True}),
  'ragged, interleaved rows': ('rows', {'sizes': (4, 3, 2), 'more': (1, 2, 1)}),
}


@pytest.mark.parametrize('situation', SITUATIONS)
@pytest.mark.parametrize('name', METHODS)
def test_loss_and_gradient_equal_loops(name, situation):
  layout, kwargs = SITUATIONS[situation]
  parts = set()
  for seed in range(3):
    both = problems(seed, **kwargs)
    both = [shuffled(p, seed) for p in both] if layout == 'rows' else both
    loss, slopes, size = SLOW[name](*both)
    parts.add(entropy_part(*both))
    scores, batches = start(both, layout, kwargs.get('on_policy', False))
    (found, _), gradient = result(name, scores, batches)
    assert abs(float(found) - loss) <= 2e-5 * size
    for key, slope in zip(('rollouts', 'demonstrations'), slopes, strict=True):
      largest = np.abs(slope).max()
      assert largest > 1e-3
      actual = np.asarray(gradient[key].logp).reshape(slope.shape)
      np.testing.assert_allclose(actual, slope, rtol=5e-5, atol=2e-6 * largest)
      assert (actual[slope == 0] == 0).all()
      assert (np.asarray(gradient[key].entropy) == 0).all()
  assert max(parts) > 1


@pytest.mark.parametrize('name', METHODS)
def test_garbage_where_nobody_trains_does_not_leak(name):
  scores, batches = start(problems(0), 'groups')

  def spoil(x, mask):
    return x if x is None else jnp.where(mask > 0, x, jnp.nan)

  spoilt = {
    n: b.replace(**{f: spoil(getattr(b, f), b.mask) for f in ('old_logp', 'behavior_logp')})
    for n, b in batches.items()
  }
  spoilt_scores = {
    n: jax.tree.map(lambda x, n=n: spoil(x, batches[n].mask), s) for n, s in scores.items()
  }
  clean, found = result(name, scores, batches), result(name, spoilt_scores, spoilt)
  jax.tree.map(np.testing.assert_array_equal, found, clean)


@pytest.mark.parametrize('name', METHODS)
def test_cutting_into_microbatches_changes_nothing(name):
  scores, batches = start(problems(1), 'groups')
  method = METHODS[name]
  (loss, _), gradient = result(name, scores, batches)

  @jax.jit
  def whole_step(scores, batches):
    state, batches = method.prepare(method.init(), batches)
    _, batches = method.measure(state, scores, batches)
    return batches, training.weigh(method, batches)

  batches, weights = whole_step(scores, batches)
  pieces = cut(scores, 2), cut(batches, 2), cut(weights, 2)
  part = jax.jit(jax.value_and_grad(lambda s, b, w: training.total(method, s, b, w)[0]))
  found, slopes = 0.0, []
  for i in range(2):
    value, slope = part(*jax.tree.map(lambda x, i=i: x[i], pieces))
    found, slopes = found + value, [*slopes, slope]
  assert float(found) == pytest.approx(float(loss), rel=1e-5)
  whole = jax.tree.map(lambda *x: jnp.stack(x, 1).reshape(-1, *x[0].shape[1:]), *slopes)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-7), whole, gradient)


@pytest.mark.parametrize('name', METHODS)
def test_nothing_to_train_is_no_loss(name):
  scores, batches = start(problems(0), 'groups')
  empty = {n: b.replace(mask=jnp.zeros_like(b.mask)) for n, b in batches.items()}
  (loss, _), gradient = result(name, scores, empty)
  assert loss == 0
  assert all((np.asarray(x) == 0).all() for x in jax.tree.leaves(gradient))


def test_prompts_that_are_always_solved_are_not_imitated_and_those_that_never_are_are():
  rollouts, demonstrations = problems(0)
  demonstrations = {
    **demonstrations,
    'rewards': np.ones(4),
    'mask': np.ones_like(demonstrations['mask']),
  }
  scores, batches = start((rollouts, demonstrations), 'groups')
  _, gradient = result('red', scores, batches)
  slope = np.asarray(gradient['demonstrations'].logp)
  assert (slope[2] == 0).all() and (slope[1] < 0).all()


def test_the_state_is_the_moving_averages_of_both_entropies():
  both = problems(0)
  scores, batches = start(both, 'groups')
  method = METHODS['red']
  state, batches = method.prepare(method.init(), batches)
  np.testing.assert_array_equal(state, [1.0, 1.0])
  averages = [1.0, 1.0]
  for _ in range(3):
    state, _ = method.measure(state, scores, batches)
    averages = [
      0.99 * a + 0.01 * mean_entropy(p) for a, p in zip(averages, both[::-1], strict=True)
    ]
    np.testing.assert_allclose(state, averages, rtol=1e-5)


def test_missing_correctness_is_named():
  scores, batches = start(problems(0), 'groups')
  batches['rollouts'] = batches['rollouts'].replace(extras={})
  with pytest.raises(ValueError, match=r"needs batch.extras\['correct'\]"):
    loss_and_gradient(METHODS['red'], scores, batches)
