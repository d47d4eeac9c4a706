"""Rewards that depend on length, against loops in float64: AdaCtrl, cosine, LASER, HAPO, DAST."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from advantages.grouped import LENGTHS, SHAPE, SUCCESS, check, each
from parity import assert_close, both_precisions, exact, run

from rljax import shaping

RNG = np.random.default_rng(3)
TAGS = RNG.integers(0, 3, SHAPE)
LENGTHS = LENGTHS.copy()
LENGTHS[4] = 6.0  # all equal


def slow_adactrl(paper):
  def one(correct, lengths, tags):
    accuracy = sum(correct) / len(correct)
    label = 0 if accuracy > 0.6 else 1
    out = []
    for c, n, tag in zip(correct, lengths, tags, strict=True):
      h = (1 - math.cos(math.pi * n / max(lengths))) / 2 if max(lengths) else 0.0
      named = -1.0 if tag == 2 else float(tag == label)
      if paper:
        length = 1 - h if tag == 0 else 0.0
      else:
        length = 0.0 if tag != label else (1 - h if label == 0 else h)
      out.append((1.0 if c else -1.0) + 0.25 * named + 0.75 * length)
    return out

  return each(one)


@both_precisions
@pytest.mark.parametrize('paper', [False, True])
def test_adactrl_equals_a_loop(dtype, tolerance, paper):
  fn = shaping.adactrl_paper if paper else shaping.adactrl
  settings = dict(delta=0.6, format_weight=0.25, length_weight=0.75)
  check(
    dtype,
    tolerance,
    lambda *a, where=None: fn(*a, where=where, **settings),
    slow_adactrl(paper),
    SUCCESS,
    LENGTHS,
    TAGS,
  )


def test_the_longest_and_equally_long_responses_earn_0_if_easy_and_1_if_hard():
  lengths = jnp.array([[7.0, 7.0]])
  easy = shaping.adactrl(jnp.ones((1, 2)), lengths, jnp.array([[0, 1]]))
  np.testing.assert_array_equal(easy, [[1.5, 1.0]])
  hard = shaping.adactrl(jnp.zeros((1, 2)), lengths, jnp.array([[0, 1]]))
  np.testing.assert_array_equal(hard, [[-1.0, 0.0]])


def test_the_accuracy_at_delta_itself_is_hard():
  correct = jnp.array([[1.0] * 5 + [0.0] * 3])
  found = shaping.adactrl(correct, jnp.ones((1, 8)), jnp.ones((1, 8), jnp.int32))
  assert found[0, 0] == 2.0  # 1 + 0.5 for the tag + 0.5 for the longest hard one


CORRECT = RNG.integers(0, 2, 40).astype(np.float64)
FREE = RNG.integers(0, 130, 40).astype(np.float64)
FREE[:6] = [0, 83, 84, 85, 100, 120]


def slow_cosine(c, n, values, limit, author):
  if author and n + 16 >= limit:
    return -10.0
  short, long = values[:2] if c else values[2:]
  share = n / limit if author else min(n / limit, 1.0)
  return long + (short - long) * (1 + math.cos(math.pi * share)) / 2


@both_precisions
def test_cosine_rewards_equal_a_loop(dtype, tolerance):
  expected = [
    slow_cosine(c, n, (2, 1, -10, 0), 100, True) for c, n in zip(CORRECT, FREE, strict=True)
  ]
  found = run(lambda c, n: shaping.cosine_length(c, n, limit=100), dtype, CORRECT, FREE)
  assert_close(found, expected, tolerance, each=False)
  expected = [
    slow_cosine(c, n, (1, 0.5, -1, -0.5), 100, False) for c, n in zip(CORRECT, FREE, strict=True)
  ]
  found = run(lambda c, n: shaping.cosine_length_clamped(c, n, limit=100), dtype, CORRECT, FREE)
  assert_close(found, expected, tolerance, each=False)


def test_no_length_earns_the_short_value_and_the_margin_is_punished_from_its_first_token():
  lengths = jnp.array([0, 0, 83, 84])
  found = shaping.cosine_length(jnp.array([1.0, 0.0, 1.0, 1.0]), lengths, limit=100)
  np.testing.assert_allclose(found[jnp.array([0, 1, 3])], [2.0, -10.0, -10.0], rtol=1e-6)
  assert found[2] > 1.0


def slow_laser(correct, lengths, target):
  return [
    (1.5 if n <= target else 1.0) if c else 0.0 for c, n in zip(correct, lengths, strict=True)
  ]


def slow_laser_d(correct, lengths):
  share = sum(correct) / len(correct)
  return slow_laser(correct, lengths, 6.0 if share >= 2 / 3 else 4.0 if share >= 1 / 3 else 2.0)


@both_precisions
def test_laser_rewards_equal_a_loop(dtype, tolerance):
  found = run(lambda c, n: shaping.laser(c, n, target=50), dtype, CORRECT, FREE)
  assert_close(found, slow_laser(CORRECT, FREE, 50), tolerance)
  targets = jnp.array([2.0, 4.0, 6.0])
  fn = lambda c, n, where=None: shaping.laser_d(c, n, targets.astype(n.dtype), where)  # noqa: E731
  check(dtype, tolerance, fn, each(slow_laser_d), SUCCESS, LENGTHS)


def slow_targets(correct, lengths, candidates, samples, expected):
  kinds = {0: [], 1: [], 2: []}
  for right, long in zip(correct, lengths, strict=True):
    share = sum(right) / len(right)
    kinds[0 if share <= 1 / 3 else 1 if share <= 2 / 3 else 2] += list(long)
  out = []
  for kind, least in ((0, 1), (1, samples // 3), (2, 2 * samples // 3)):
    best = math.inf
    for candidate in candidates:
      covered = sum(n <= candidate for n in kinds[kind])
      if kinds[kind] and int(covered / len(kinds[kind]) * least + 1e-9) >= expected:
        best = min(best, candidate)
    out.append(best)
  return out


@pytest.mark.parametrize(('samples', 'expected'), [(8, 1), (8, 2), (12, 3), (2, 1)])
def test_laser_targets_equal_a_loop(samples, expected):
  rng = np.random.default_rng(samples)
  correct = (rng.random((30, 6)) < rng.random((30, 1))).astype(np.float64)
  lengths = rng.integers(1, 40, (30, 6)).astype(np.float64)
  candidates = np.array([5.0, 10.0, 40.0, 20.0, 30.0])
  wanted = slow_targets(correct, lengths, candidates, samples, expected)
  fn = jax.jit(lambda *a: shaping.laser_targets(*a, samples=samples, expected=expected))
  np.testing.assert_array_equal(fn(correct, lengths, candidates), wanted)
  controller = shaping.laser_monitor(candidates, initial=7, samples=samples, expected=expected)
  np.testing.assert_array_equal(controller.init(), 7.0)
  state, found = controller.update(controller.init(), (correct, lengths))
  np.testing.assert_array_equal(found, wanted)
  np.testing.assert_array_equal(state, wanted)
  if (samples, expected) == (8, 1):
    assert wanted[2] < wanted[1] < wanted[0] and math.isfinite(wanted[0])


def test_without_prompts_of_a_kind_nothing_is_too_long():
  found = shaping.laser_targets(jnp.ones((2, 3)), jnp.full((2, 3), 5.0), jnp.array([4.0, 8.0]))
  np.testing.assert_array_equal(found, [np.inf, np.inf, 8.0])


def slow_hapo(c, n, known, weight):
  if math.isinf(known):
    return c
  f = math.cos(min(math.pi * n / (2 * known), math.pi))
  return c + weight * (max(f, -0.7) if c else min(f, 0.0))


@both_precisions
def test_hapo_length_equals_a_loop(dtype, tolerance):
  known = np.where(RNG.random(40) < 0.3, np.inf, RNG.integers(1, 80, 40)).astype(np.float64)
  expected = [slow_hapo(c, n, h, 0.5) for c, n, h in zip(CORRECT, FREE, known, strict=True)]
  found = run(lambda *a: shaping.hapo_length(*a, weight=0.5), dtype, CORRECT, FREE, known)
  assert_close(found, expected, tolerance, each=False)


def test_the_memory_holds_the_shortest_right_answer_of_each_prompt():
  rng = np.random.default_rng(0)
  memory = shaping.shortest_correct(5)
  state, best, update = memory.init(), {}, jax.jit(memory.update)
  for _ in range(6):
    prompt = rng.integers(-2, 7, (3, 4))
    correct = rng.integers(0, 2, (3, 4)).astype(np.float32)
    lengths = rng.integers(0, 30, (3, 4)).astype(np.float32)
    state, known = update(state, (prompt, correct, lengths))
    np.testing.assert_array_equal(known, np.vectorize(lambda p: best.get(p, np.inf))(prompt))
    for p, c, n in zip(prompt.ravel(), correct.ravel(), lengths.ravel(), strict=True):
      if c and n and 0 <= p < 5:
        best[p] = min(best.get(p, np.inf), n)
    np.testing.assert_array_equal(state, [best.get(p, np.inf) for p in range(5)])
  assert len(best) > 3


def slow_dast(correct, lengths):
  share = sum(correct) / len(correct)
  right = [n for c, n in zip(correct, lengths, strict=True) if c]
  budget = share * (sum(right) / len(right) if right else 0) + (1 - share) * 10
  out = []
  for c, n in zip(correct, lengths, strict=True):
    d = (n - budget) / budget
    out.append(max(0.5 - 0.5 * d, 0.1) if c else min(0.9 * d - 0.1, -0.1))
  return out


@both_precisions
def test_dast_equals_a_loop(dtype, tolerance):
  lengths = np.maximum(LENGTHS, 1.0)
  fn = lambda c, n, where=None: shaping.dast(c, n, where, max_length=10)  # noqa: E731
  check(dtype, tolerance, fn, each(slow_dast), SUCCESS, lengths)


def slow_o1(correct, lengths, ref_length, ref_accuracy, where, alpha=5.0):
  real = [i for i in range(len(where)) if where[i]]
  raw = {
    i: min(
      max((ref_length[i] - lengths[i]) / lengths[i] + alpha * (correct[i] - ref_accuracy[i]), -2), 4
    )
    for i in real
  }
  mean = sum(raw.values()) / len(raw)
  spread = math.sqrt(sum((x - mean) ** 2 for x in raw.values()) / len(raw))
  return [(raw[i] - mean) / spread if i in raw else 0.0 for i in range(len(where))]


@both_precisions
def test_o1_pruner_weights_equal_a_loop(dtype, tolerance):
  lengths = np.maximum(FREE, 1.0)
  reference, accuracy = exact(RNG.uniform(20, 90, 40)), exact(RNG.uniform(0.3, 1, 40))
  where = (RNG.random(40) < 0.8).astype(np.float64)
  args = (CORRECT, lengths, reference, accuracy, where)
  assert_close(run(shaping.o1_pruner, dtype, *args), slow_o1(*args), tolerance, each=False)


@pytest.mark.parametrize('value', [0.1, 1.0])
def test_equal_weights_of_o1_pruner_are_0(value):
  ones = jnp.ones(7)
  found = shaping.o1_pruner(ones, 3 * ones, 4 * ones, value * ones)
  np.testing.assert_array_equal(found, 0.0)
  np.testing.assert_array_equal(shaping.o1_pruner(ones, ones, ones, ones, 0 * ones), 0.0)


@both_precisions
def test_a2fm_equals_a_loop(dtype, tolerance):
  modes, formatted = RNG.integers(0, 3, 40), (RNG.random(40) < 0.8).astype(np.float64)
  accuracy = exact(RNG.choice([0.0, 1 / 3, 0.5, 2 / 3, 1.0], 40))

  def one(c, mode, a, f):
    return c * f * (1 - a**2 if a > 0.4 and mode != 0 else 1.0)

  expected = [one(*row) for row in zip(CORRECT, modes, accuracy, formatted, strict=True)]
  found = run(lambda *a: shaping.a2fm(*a, tau=0.4), dtype, CORRECT, modes, accuracy, formatted)
  assert_close(found, expected, tolerance, each=False)
  assert {0.0, 1.0} < set(expected)


def test_a_prompt_that_instant_always_solves_pays_nothing_else_and_one_it_never_solves_all():
  right, modes = jnp.ones(3), jnp.array([0, 1, 2])
  np.testing.assert_array_equal(shaping.a2fm(right, modes, right), [1.0, 0.0, 0.0])
  np.testing.assert_array_equal(shaping.a2fm(right, modes, 0 * right), [1.0, 1.0, 1.0])
  at = shaping.a2fm(right, modes, jnp.full(3, jnp.float32(1 / 3)))
  np.testing.assert_array_equal(at, 1.0)


def test_the_running_length_is_the_mean_of_all_and_concise_is_below_it():
  rng = np.random.default_rng(1)
  controller, seen = shaping.running_length(), []
  state, update = controller.init(), jax.jit(controller.update)
  for _ in range(5):
    lengths, where = rng.integers(1, 90, (2, 3)).astype(np.float32), rng.integers(0, 2, (2, 3))
    state, mean = update(state, (lengths, where))
    seen += [n for n, w in zip(lengths.ravel(), where.ravel(), strict=True) if w]
    np.testing.assert_allclose(mean, np.mean(seen) if seen else 0.0, rtol=1e-6)
    np.testing.assert_array_equal(shaping.concise(lengths, mean), lengths < mean)
  assert len(seen) > 5
