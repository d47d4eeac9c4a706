"""The sampler's law, noise and bookkeeping; exact laws come from a model that is a table."""

import functools
import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import models, sampling, training
from rljax.types import Batch

# `rljax.sampling.sampler` holds `_buckets`, which is tested on its own.
sampler_module = importlib.import_module('rljax.sampling.sampler')
law_module = importlib.import_module('rljax.sampling.law')

VOCAB, EOS = 17, 2
CONFIG = models.DecoderConfig(
  vocab_size=VOCAB,
  dim=16,
  num_layers=2,
  num_heads=4,
  num_kv_heads=2,
  head_dim=4,
  ff_dim=16,
  tied=False,
)
DECODER = models.decoder(CONFIG)


def is_spec(x):
  return isinstance(x, models.Spec)


def decoder_params(scale, seed=0):
  """Random weights, scaled up so that the next word depends on the prompt, and sharply."""
  rng = np.random.default_rng(seed)

  def leaf(spec):
    values = rng.normal(size=spec.shape) * (spec.scale or 0)
    return np.float32(values + (spec.scale is None))

  params = jax.tree.map(leaf, models.specs(CONFIG), is_leaf=is_spec)
  layers = {name: 2 * x if 'norm' not in name else x for name, x in params['layers'].items()}
  return {**params, 'layers': layers, 'head': scale * params['head']}


def table(params, tokens, positions, cache=None):
  """`apply` of a model whose parameters are logits `[V, V]` of the next word given the last one."""
  del positions
  return params[jnp.maximum(tokens, 0)], cache


def unconditional(params, tokens, positions, cache=None):
  """`apply` of a model whose parameters are logits `[V]` of every word.

  With all of many words equally likely, a token tells the uniform number behind it.
  """
  del positions
  return jnp.broadcast_to(params[None, None], (*tokens.shape, *params.shape)), cache


def empty_cache(rows, slots):
  return jnp.zeros((rows, slots))


MODELS = {
  'decoder': DECODER,
  'table': models.Model(table, empty_cache, None),
  'unconditional': models.Model(unconditional, empty_cache, None),
}
EVEN = np.zeros(4096, np.float32)


def prompts(n, width, seed=0):
  """Ragged, left-padded prompts `[n, width]` of 1 to `width` words without the end token."""
  rng = np.random.default_rng(seed)
  tokens = rng.integers(3, VOCAB, (n, width))
  lengths = rng.integers(1, width + 1, n)
  lengths[:2] = 1, width
  return np.where(np.arange(width) >= width - lengths[:, None], tokens, -1).astype(np.int32)


@functools.cache
def sampler(model, group_size, max_new_tokens, warp=None, eos=EOS):
  warp = warp or (lambda logits: logits)

  def draw(params, prompt, key, ids):
    return sampling.sample(
      MODELS[model],
      params,
      prompt,
      key,
      group_size=group_size,
      max_new_tokens=max_new_tokens,
      eos=eos,
      warp=warp,
      ids=ids,
    )

  # Only what the decoder computes is worth the compiler's time.
  quick = {} if model == 'decoder' else {'xla_backend_optimization_level': 0}
  return jax.jit(draw, compiler_options=quick)


def draw(model, params, prompt, seed, group_size, max_new_tokens, warp=None, eos=EOS, ids=None):
  fn = sampler(model, group_size, max_new_tokens, warp, eos)
  ids = np.arange(len(prompt)) if ids is None else np.asarray(ids)
  return jax.tree.map(np.asarray, fn(params, prompt, jax.random.key(seed), ids))


def check_bookkeeping(samples):
  """The end token is the last of its completion; what follows is -1 with log-probability 0."""
  for tokens, logp, truncated in zip(
    samples.completion.reshape(-1, samples.completion.shape[-1]),
    samples.logp.reshape(-1, samples.logp.shape[-1]),
    samples.truncated.ravel(),
    strict=True,
  ):
    ends = np.flatnonzero(tokens == EOS)
    length = ends[0] + 1 if len(ends) else len(tokens)
    assert truncated == (0 if len(ends) else 1)
    assert (tokens[:length] >= 0).all() and (tokens[length:] == -1).all()
    assert (logp[length:] == 0).all() and np.isfinite(logp).all()


def chi_square(tokens, probs):
  """The statistic less its mean, in deviations; about normal, so 4 is one in 30 000.

  Words are taken from the rarest and put together until a cell expects five draws.
  """
  counts = np.bincount(tokens, minlength=len(probs))
  cells, seen, expected = [], 0, 0.0
  for word in np.argsort(probs):
    seen, expected = seen + counts[word], expected + probs[word] * len(tokens)
    if expected >= 5:
      cells.append((seen - expected) ** 2 / expected)
      seen, expected = 0, 0.0
  assert expected < 1e-6 and seen == 0 and len(cells) > 2  # the likeliest word closed the last cell
  freedom = len(cells) - 1
  return (sum(cells) - freedom) / math.sqrt(2 * freedom)


def softmax(x):
  x = np.exp(np.float64(x) - np.max(x, axis=-1, keepdims=True))
  return x / x.sum(-1, keepdims=True)


def test_greedy_with_the_cache_equals_greedy_by_full_recomputation():
  params, prompt, length = decoder_params(4.0), prompts(256, 6), 8
  samples = draw('decoder', params, prompt, 0, 2, length, sampling.greedy)
  apply = jax.jit(lambda *args: DECODER.apply(*args)[0])
  tokens = np.concatenate([prompt, np.full((256, length), -1, np.int32)], axis=1)
  done = np.zeros(256, bool)
  for t in range(length):
    positions = np.where(tokens >= 0, np.cumsum(tokens >= 0, axis=1) - 1, -1)
    best = np.asarray(apply(params, tokens, positions))[:, 5 + t].argmax(-1)
    tokens[:, 6 + t] = np.where(done, -1, best)
    done |= best == EOS
  for member in (0, 1):
    np.testing.assert_array_equal(samples.completion[:, member], tokens[:, 6:])
    np.testing.assert_array_equal(samples.truncated[:, member], ~done)
  assert (samples.logp == 0).all()
  # The test has power: many different completions, and both endings.
  assert len(np.unique(tokens[:, 6:], axis=0)) > 100 and 10 < done.sum() < 246


def test_log_probabilities_equal_the_scorers_at_the_same_temperature():
  params, prompt = decoder_params(2.0), prompts(16, 5)
  samples = draw('decoder', params, prompt, 1, 4, 7, WARM)
  check_bookkeeping(samples)
  assert 0 < samples.truncated.mean() < 1
  batch = Batch(prompt=prompt[:, None], completion=samples.completion)
  scores = jax.jit(training.make_score(DECODER, temperature=0.7))(params, batch)
  np.testing.assert_allclose(samples.logp, scores.logp, rtol=0, atol=1e-4)
  cold = jax.jit(training.make_score(DECODER))(params, batch)
  assert np.abs(samples.logp - cold.logp).max() > 0.1


WARM = sampling.temperature(0.7)
TABLE = np.float32(np.random.default_rng(5).normal(0, 1.5, (VOCAB, VOCAB)))
WARPS = {
  'plain': None,
  'temperature': WARM,
  'top-k': sampling.top_k(4),
  'temperature, top-k, top-p': sampling.chain(
    sampling.temperature(1.5), sampling.top_k(8), sampling.top_p(0.7)
  ),
}


def law(name, logits):
  """The distribution `[V]` that a warp of `WARPS` makes of one row of logits, by loops."""
  logits = np.float64(logits)
  if name == 'plain':
    return softmax(logits)
  if name == 'temperature':
    return softmax(logits / 0.7)
  order = list(np.argsort(-logits))
  if name == 'top-k':
    kept = order[:4]
  else:
    logits = logits / 1.5
    kept = order[:8]
    probs = softmax(logits[kept])
    kept = [w for i, w in enumerate(kept) if probs[:i].sum() < 0.7]
  probs = np.zeros(VOCAB)
  probs[kept] = softmax(logits[kept])
  return probs


@pytest.mark.parametrize('name', WARPS)
def test_tokens_follow_the_warped_law_and_logp_is_that_law(name):
  prompt = np.int32([[-1, 4, 7], [3, 5, 9]])
  samples = draw('table', TABLE, prompt, 2, 4000, 3, WARPS[name])
  check_bookkeeping(samples)
  for row, last in ((0, 7), (1, 9)):
    first, second = samples.completion[row, :, 0], samples.completion[row, :, 1]
    likely = np.bincount(first[first != EOS]).argmax()
    after = (first == likely) & (second >= 0)
    for tokens, logp, given in (
      (first, samples.logp[row, :, 0], last),
      (second[after], samples.logp[row, after, 1], likely),
    ):
      probs = law(name, TABLE[given])
      assert len(tokens) > 300 and probs[tokens].min() > 0
      np.testing.assert_allclose(logp, np.log(probs[tokens]), rtol=0, atol=1e-5)
      assert abs(chi_square(tokens, probs)) < 4


def test_two_rollouts_share_no_noise_in_any_row():
  prompt, key = prompts(4, 3), jax.random.key(0)
  fn = sampler('unconditional', 4, 8, eos=-5)
  rollouts = np.stack(
    [fn(EVEN, prompt, jax.random.fold_in(key, s), np.arange(4)).completion for s in range(3)]
  )
  uniforms = (rollouts.reshape(3 * 16, 8) + 0.5) / EVEN.size
  # 48 rows of noise: no two are equal anywhere near, correlated or repeated in time.
  for i in range(48):
    for j in range(i):
      assert np.sum(uniforms[i] == uniforms[j]) <= 1
  flat = uniforms.ravel()
  assert len(np.unique(flat)) > 0.9 * flat.size
  assert abs(flat.mean() - 0.5) < 4 * math.sqrt(1 / 12 / flat.size)
  assert abs(np.corrcoef(uniforms[:16].ravel(), uniforms[16:32].ravel())[0, 1]) < 0.3


def test_decoded_rollouts_of_two_steps_differ_in_every_prompt():
  params, prompt = decoder_params(0.5), prompts(16, 5)
  key = jax.random.key(7)
  fn = sampler('decoder', 4, 7, WARM)
  a, b = (fn(params, prompt, jax.random.fold_in(key, step), np.arange(16)) for step in (0, 1))
  same = (np.asarray(a.completion) == np.asarray(b.completion)).all(-1)
  assert same.mean() < 0.1 and not same.all(-1).any()


def test_a_row_does_not_depend_on_its_neighbours():
  params, prompt = decoder_params(1.0), prompts(16, 5)
  other = prompts(16, 5, seed=9)
  other[3] = prompt[3]
  a, b = (draw('decoder', params, x, 3, 4, 7, WARM) for x in (prompt, other))
  for x, y in zip(a, b, strict=True):
    np.testing.assert_array_equal(x[3], y[3])
  assert (a.completion[4:] != b.completion[4:]).any()


def test_a_row_does_not_depend_on_the_group_size():
  params, prompt = decoder_params(1.0), prompts(16, 5)
  four, two = (
    draw('decoder', params, prompt, 3, 4, 7, WARM),
    draw('decoder', params, prompt, 3, 2, 7, WARM),
  )
  np.testing.assert_array_equal(four.completion[:, :2], two.completion)
  np.testing.assert_allclose(four.logp[:, :2], two.logp, rtol=0, atol=1e-5)
  assert (four.completion[:, 2:] != two.completion).any()


def test_a_row_does_not_depend_on_the_order_when_ids_are_passed():
  params, prompt = decoder_params(1.0), prompts(16, 5)
  order = np.random.default_rng(1).permutation(16)
  ids = np.arange(16) + 100
  a = draw('decoder', params, prompt, 3, 4, 7, WARM, ids=ids)
  b = draw('decoder', params, prompt[order], 3, 4, 7, WARM, ids=ids[order])
  for x, y in zip(a, b, strict=True):
    np.testing.assert_array_equal(x[order], y)
  c = draw('decoder', params, prompt[order], 3, 4, 7, WARM, ids=ids)
  assert (c.completion != b.completion).any()


def test_members_of_a_group_and_equal_prompts_draw_differently():
  prompt = np.full((4, 3), 4, np.int32)
  tokens = draw('unconditional', EVEN, prompt, 0, 4, 8, eos=-5).completion
  assert len(np.unique(tokens.reshape(16, 8), axis=0)) == 16
  assert len(np.unique(tokens)) > 120


def test_an_end_token_at_once_is_the_whole_completion():
  table = np.full((VOCAB, VOCAB), -30.0, np.float32)
  table[:, 5] = 0.0
  table[3] = -30.0
  table[3, EOS] = 0.0
  samples = draw('table', table, np.int32([[3], [4]]), 0, 2, 4)
  check_bookkeeping(samples)
  np.testing.assert_array_equal(samples.completion[0], [[EOS, -1, -1, -1]] * 2)
  np.testing.assert_array_equal(samples.completion[1], [[5, 5, 5, 5]] * 2)
  np.testing.assert_array_equal(samples.truncated, [[0, 0], [1, 1]])


def test_all_rows_ending_at_once_stop_the_loop_early():
  table = np.full((VOCAB, VOCAB), -30.0, np.float32)
  table[:, EOS] = 0.0
  samples = draw('table', table, np.int32([[3], [4]]), 0, 2, 4)
  check_bookkeeping(samples)
  assert (samples.completion[..., 0] == EOS).all() and (samples.truncated == 0).all()


def test_one_new_token_is_the_first_of_many():
  params, prompt = decoder_params(1.0), prompts(16, 5)
  one = draw('decoder', params, prompt, 3, 4, 1, WARM)
  assert one.completion.shape == one.logp.shape == (16, 4, 1)
  check_bookkeeping(one)
  many = draw('decoder', params, prompt, 3, 4, 7, WARM)
  np.testing.assert_array_equal(one.completion, many.completion[..., :1])
  np.testing.assert_allclose(one.logp, many.logp[..., :1], rtol=0, atol=1e-5)


@functools.cache
def jitted_draw():
  return jax.jit(law_module.draw)


def test_a_word_of_probability_zero_is_never_drawn():
  rng = np.random.default_rng(0)
  words = 4096
  logits = np.float32(rng.normal(0, 2, (64, words)))
  logits[rng.random(logits.shape) < 0.7] = -np.inf
  logits[:, -5:] = -np.inf
  keys = jax.random.split(jax.random.key(0), 64)
  token, logp = map(np.asarray, jitted_draw()(keys, logits))
  assert np.isfinite(logp).all()
  np.testing.assert_allclose(
    logp, np.log(softmax(logits)[np.arange(64), token]), rtol=1e-5, atol=1e-5
  )


@pytest.mark.parametrize('uniform', ['rounding', 'lowest', 'highest'])
def test_no_uniform_leads_to_a_mass_of_zero(uniform):
  """Float sums in a tree are not monotone: without care some uniforms hit a filtered word."""
  rng = np.random.default_rng(0)
  mass = np.float32(np.exp(rng.normal(0, 2, (64, 4096))))
  mass[rng.random(mass.shape) < 0.7] = 0
  mass[:, 0] = mass[:, -1] = 0
  sums = np.asarray(jnp.cumsum(mass, axis=-1))
  below = np.maximum.accumulate(sums, axis=-1)[:, :-1]
  lifted = (mass[:, 1:] == 0) & (sums[:, 1:] > below)
  assert lifted.any(-1).sum() > 30  # rounding lifts the sum at filtered words in most rows
  place = lifted.argmax(-1)
  between = below[np.arange(64), place] / sums[:, -1]  # the uniform at which that word begins
  drawn = {'rounding': between, 'lowest': np.zeros(64), 'highest': np.full(64, 1 - 2.0**-24)}
  index = law_module._pick(jnp.asarray(mass), jnp.float32(drawn[uniform]))
  assert (mass[np.arange(64), np.asarray(index)] > 0).all()


@pytest.mark.parametrize('words', [5, 128, 300])
def test_blocks_of_words_follow_the_softmax(words):
  """One block, a full one, and several of which the last is not full."""
  rows = 20_000
  logits = np.float32(np.random.default_rng(1).normal(0, 2, words))
  keys = jax.random.split(jax.random.key(3), rows)
  token, logp = jitted_draw()(keys, jnp.broadcast_to(logits[None], (rows, words)))
  assert abs(chi_square(np.asarray(token), softmax(logits))) < 4
  expected = np.log(softmax(logits))[np.asarray(token)]
  np.testing.assert_allclose(logp, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
  'length, ends', [(1, [1]), (127, [127]), (128, [64, 128]), (300, [75, 150, 300])]
)
def test_the_cache_grows_in_few_steps_to_the_length(length, ends):
  assert sampler_module._buckets(length) == ends
  assert sampler_module._buckets(100_000)[-1] == 100_000
  assert len(sampler_module._buckets(100_000)) == 4


@pytest.mark.nightly
@pytest.mark.slow
def test_a_growing_cache_changes_nothing(monkeypatch):
  prompt = prompts(3, 5)
  params = decoder_params(3.0)
  whole = draw('decoder', params, prompt, 5, 2, 90)
  monkeypatch.setattr(sampler_module, '_LEAST_BUCKET', 10)
  sampler.cache_clear()
  grown = draw('decoder', params, prompt, 5, 2, 90)
  sampler.cache_clear()
  assert (whole.completion >= 0).sum(-1).max() > 64  # some went through every size
  np.testing.assert_array_equal(grown.completion, whole.completion)
  np.testing.assert_allclose(grown.logp, whole.logp, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
  ('row', 'expected'),
  [
    ([1e30, 0.0, -1e30, 5.0], 0),
    ([-1e30, -1e30, -9e29, -1e30], 2),
    ([-np.inf, -np.inf, -np.inf, -2000.0], 3),
    ([-np.inf, 3e38, -3e38, -np.inf], 1),
  ],
)
def test_extreme_logits_draw_the_only_likely_word(row, expected):
  keys = jax.random.split(jax.random.key(1), 64)
  token, logp = jitted_draw()(keys, np.float32([row] * 64))
  assert (np.asarray(token) == expected).all() and (np.asarray(logp) == 0).all()


def test_bad_sizes_and_shapes_are_refused():
  sample = functools.partial(
    sampling.sample, MODELS['table'], TABLE, key=jax.random.key(0), eos=EOS
  )
  with pytest.raises(ValueError, match='group_size'):
    sample(prompt=prompts(2, 3), group_size=0, max_new_tokens=3)
  with pytest.raises(ValueError, match='max_new_tokens'):
    sample(prompt=prompts(2, 3), group_size=1, max_new_tokens=0)
  with pytest.raises(ValueError, match=r'expected \[P, Tp\]'):
    sample(prompt=prompts(2, 3)[:, None], group_size=1, max_new_tokens=1)
