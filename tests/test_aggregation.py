import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import assert_close, both_precisions, random_mask, run

from rljax import aggregation

RNG = np.random.default_rng(0)
MASK = random_mask(RNG, (3, 4, 6))
KEEP = np.array([[1.0, 1, 0, 1], [1, 0, 1, 1], [0, 0, 0, 0]])
GROUP = np.array([0, 1, 0, 2, 1, 0, 2, 1, 0])  # interleaved groups of 4, 3 and 2
ROW_MASK = random_mask(RNG, (9, 6))
ROW_KEEP = np.array([1.0, 1, 1, 0, 1, 0, 0, 0, 1])  # nothing of group 2 is kept


def batch(mask, keep=None, group=None, group_shape=None):
  return types.SimpleNamespace(mask=mask, keep=keep, group=group, group_shape=group_shape)


def weigh(fn, dtype, mask, keep):
  if keep is None:
    return run(lambda m: fn(batch(m)), dtype, mask)
  return run(lambda m, k: fn(batch(m, k)), dtype, mask, keep)


def sequences(mask, keep):
  """(index, unmasked positions) of every sequence that counts."""
  keep = np.ones(mask.shape[:-1]) if keep is None else keep
  found = []
  for i in np.ndindex(mask.shape[:-1]):
    tokens = [t for t in range(mask.shape[-1]) if mask[i][t]]
    if keep[i] and tokens:
      found.append((i, tokens))
  return found


def slow_weights(mask, keep, of_token):
  out = np.zeros(mask.shape)
  counted = sequences(mask, keep)
  for i, tokens in counted:
    for t in tokens:
      out[(*i, t)] = of_token(len(tokens), len(counted), sum(len(ts) for _, ts in counted))
  return out


TOKEN_WEIGHTS = {
  'token_mean': (aggregation.token_mean, lambda n, n_seq, n_tok: 1 / n_tok),
  'sequence_mean': (aggregation.sequence_mean, lambda n, n_seq, n_tok: 1 / n / n_seq),
  'sequence_sum_mean': (aggregation.sequence_sum_mean, lambda n, n_seq, n_tok: 1 / n_seq),
  'constant': (aggregation.constant(10), lambda n, n_seq, n_tok: 1 / n_seq / 10),
  'token_sum': (aggregation.token_sum, lambda n, n_seq, n_tok: 1.0),
  'sequence_mean_sum': (aggregation.sequence_mean_sum, lambda n, n_seq, n_tok: 1 / n),
}
EVERY = {name: fn for name, (fn, _) in TOKEN_WEIGHTS.items()} | {
  'all_token_mean': aggregation.all_token_mean,
  'prompt_mean': aggregation.prompt_mean,
  'per_sequence': aggregation.per_sequence,
  'per_prompt': aggregation.per_prompt,
}


@both_precisions
@pytest.mark.parametrize('keep', [None, KEEP], ids=['all', 'some'])
@pytest.mark.parametrize('name', TOKEN_WEIGHTS)
def test_token_weights_equal_a_loop(dtype, tolerance, name, keep):
  fn, of_token = TOKEN_WEIGHTS[name]
  expected = slow_weights(MASK, keep, of_token)
  assert expected.any()
  assert_close(weigh(fn, dtype, MASK, keep), expected, tolerance)
  flat_keep = None if keep is None else keep.reshape(-1)
  flat = weigh(fn, dtype, MASK.reshape(12, 6), flat_keep)
  assert_close(flat, expected.reshape(12, 6), tolerance)


@both_precisions
def test_all_token_mean_ignores_keep(dtype, tolerance):
  actual = weigh(aggregation.all_token_mean, dtype, MASK, KEEP)
  assert_close(actual, MASK / MASK.sum(), tolerance)


def slow_prompt_mean(mask, keep, group):
  """`mask [B, T]`: the mean over each group's tokens, then over the groups that have any."""
  out = np.zeros(mask.shape)
  tokens = {}
  for i, ts in sequences(mask, keep):
    tokens.setdefault(group[i[0]], []).extend((i[0], t) for t in ts)
  for places in tokens.values():
    for place in places:
      out[place] = 1 / len(places) / len(tokens)
  return out


@both_precisions
@pytest.mark.parametrize('keep', [None, KEEP], ids=['all', 'some'])
def test_prompt_mean_equals_a_loop_over_prompts(dtype, tolerance, keep):
  flat_keep = None if keep is None else keep.reshape(-1)
  expected = slow_prompt_mean(MASK.reshape(12, 6), flat_keep, np.arange(12) // 4)
  actual = weigh(aggregation.prompt_mean, dtype, MASK, keep)
  assert_close(actual, expected.reshape(MASK.shape), tolerance)


@both_precisions
@pytest.mark.parametrize('keep', [None, ROW_KEEP], ids=['all', 'some'])
def test_prompt_mean_equals_a_loop_over_ragged_rows(dtype, tolerance, keep):
  def fn(record):
    return aggregation.prompt_mean(batch(record.mask, record.keep, jnp.asarray(GROUP), (3, 4)))

  assert_close(weigh(fn, dtype, ROW_MASK, keep), slow_prompt_mean(ROW_MASK, keep, GROUP), tolerance)


def test_sums_serve_counts_of_the_callers_own():
  record = batch(jnp.float32(MASK), jnp.float32(KEEP))
  everyone = KEEP.size  # as TRL counts, those without a token too
  found = aggregation.sequence_mean_sum(record) / everyone
  lengths = np.maximum((MASK * KEEP[..., None]).sum(-1, keepdims=True), 1)
  np.testing.assert_allclose(found, MASK * KEEP[..., None] / lengths / everyone, rtol=1e-6)
  assert float(found.sum()) < float(aggregation.sequence_mean(record).sum())


@both_precisions
def test_prompt_sum_mean_is_one_over_the_prompts_in_both_layouts(dtype, tolerance):
  actual = weigh(aggregation.prompt_sum_mean, dtype, MASK, KEEP)
  assert_close(actual, np.full(KEEP.shape, 1 / 3), tolerance)

  def rows(record):  # one of the four groups that there is room for is empty
    group = jnp.asarray(GROUP)
    return aggregation.prompt_sum_mean(batch(record.mask, record.keep, group, (4, 4)))

  assert_close(weigh(rows, dtype, ROW_MASK, ROW_KEEP), np.full(9, 1 / 3), tolerance)


@both_precisions
@pytest.mark.parametrize('keep', [None, KEEP], ids=['all', 'some'])
def test_per_sequence_is_one_over_the_sequences_that_count(dtype, tolerance, keep):
  counted = sequences(MASK, keep)
  expected = np.zeros(MASK.shape[:-1])
  for i, _ in counted:
    expected[i] = 1 / len(counted)
  assert_close(weigh(aggregation.per_sequence, dtype, MASK, keep), expected, tolerance)


@both_precisions
def test_per_prompt_counts_every_prompt(dtype, tolerance):
  actual = weigh(aggregation.per_prompt, dtype, MASK, KEEP)
  assert_close(actual, np.full(3, 1 / 3), tolerance)


def test_per_prompt_needs_the_regular_layout():
  with pytest.raises(ValueError, match=r'\(P, G\) layout.*\(9, 6\)'):
    aggregation.per_prompt(batch(jnp.asarray(ROW_MASK)))
  with pytest.raises(ValueError, match='row groups'):
    aggregation.per_prompt(batch(jnp.asarray(ROW_MASK), None, jnp.asarray(GROUP), (3, 4)))


def test_prompt_mean_does_not_take_rows_for_one_prompt():
  with pytest.raises(AssertionError):
    aggregation.prompt_mean(batch(jnp.asarray(ROW_MASK)))
  with pytest.raises(ValueError, match='group_shape'):
    aggregation.prompt_mean(batch(jnp.asarray(ROW_MASK), None, jnp.asarray(GROUP)))


@pytest.mark.parametrize('length', [0, -5])
def test_a_constant_that_is_not_positive_is_refused(length):
  with pytest.raises(ValueError, match='positive'):
    aggregation.constant(length)


@pytest.mark.parametrize('name', EVERY)
def test_an_empty_batch_weighs_nothing(name):
  empty = jnp.zeros((2, 3, 4))
  no_token = EVERY[name](batch(empty))
  if name == 'per_prompt':
    np.testing.assert_allclose(no_token, 0.5)  # a prompt counts whatever was answered
  else:
    np.testing.assert_array_equal(no_token, 0.0)
  if name not in ('per_prompt', 'all_token_mean'):
    np.testing.assert_array_equal(EVERY[name](batch(empty + 1, jnp.zeros((2, 3)))), 0.0)


@pytest.mark.parametrize('name', EVERY)
def test_no_keep_is_keep_one_and_masks_may_be_integers(name):
  mask = jnp.asarray(MASK, jnp.float32)
  plain = EVERY[name](batch(mask))
  np.testing.assert_array_equal(EVERY[name](batch(mask, jnp.ones((3, 4)))), plain)
  weights = EVERY[name](batch(mask.astype(jnp.int32), jnp.ones((3, 4), bool)))
  np.testing.assert_array_equal(weights, plain)
  assert weights.dtype == jnp.float32


def test_a_keep_per_token_is_refused():
  with pytest.raises(AssertionError):
    aggregation.token_mean(batch(jnp.ones((2, 3)), jnp.ones((2, 3))))


@pytest.mark.parametrize('fn', [aggregation.token_mean, aggregation.sequence_mean])
def test_microbatches_add_up_to_the_undivided_loss_and_gradient(fn):
  mask, keep = jnp.asarray(MASK, jnp.float32), jnp.asarray(KEEP, jnp.float32)
  x = jnp.asarray(RNG.normal(size=MASK.shape), jnp.float32)
  weights = fn(batch(mask, keep))
  whole = jax.grad(lambda y: jnp.sum(weights * y**2))(x)
  parts = [
    jax.grad(lambda y, p=p: jnp.sum(weights[p : p + 1] * y**2))(x[p : p + 1]) for p in range(3)
  ]
  np.testing.assert_array_equal(jnp.concatenate(parts), whole)
  np.testing.assert_array_equal(whole[(mask * keep[..., None]) == 0], 0.0)


MEANS = [
  aggregation.token_mean,
  aggregation.all_token_mean,
  aggregation.sequence_mean,
  aggregation.prompt_mean,
]


def every_mean(mask, keep):
  return jnp.stack([fn(batch(mask, keep)) for fn in MEANS])


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.integers(0, 3))
def test_means_of_one_are_one_and_neither_padding_nor_order_matters(seed, padding):
  rng = np.random.default_rng(seed)
  mask, keep = random_mask(rng, (3, 4, 5)), (rng.random((3, 4)) < 0.7).astype(np.float64)
  keep[0, 0] = 1.0  # the row that random_mask fills
  plain = run(every_mean, 'float64', mask, keep)
  np.testing.assert_allclose(plain.sum((1, 2, 3)), 1.0, rtol=1e-12)
  wide = np.pad(mask, ((0, 0), (0, 0), (0, padding)))
  np.testing.assert_allclose(run(every_mean, 'float64', wide, keep)[..., :5], plain, rtol=1e-12)
  p, g = rng.permutation(3), rng.permutation(4)
  shuffled = run(every_mean, 'float64', mask[p][:, g], keep[p][:, g])
  np.testing.assert_allclose(shuffled, plain[:, p][:, :, g], rtol=1e-12)
