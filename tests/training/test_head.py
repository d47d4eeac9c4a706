"""Statistics per token in chunks against float64 loops over whole logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.training import head

TOKENS, WIDTH, WORDS = (3, 7), 5, 11
ALL = {'logp': head.logp, 'entropy': head.entropy, 'correct': head.correct}


def unembed(params, x):
  return x @ params


def inputs():
  rng = np.random.default_rng(0)
  params = np.float32(rng.normal(size=(WIDTH, WORDS)))
  x = np.float32(rng.normal(size=(*TOKENS, WIDTH)))
  targets = rng.integers(0, WORDS, TOKENS)
  targets[1] = (x[1] @ params).argmax(-1)  # some are the likeliest word
  return params, x, targets


def slow(params, x, targets):
  found = {name: np.zeros(TOKENS) for name in ALL}
  for at in np.ndindex(TOKENS):
    logits = np.float64(x[at]) @ np.float64(params)
    logp = logits - np.log(np.exp(logits).sum())
    found['logp'][at] = logp[targets[at]]
    found['entropy'][at] = -sum(np.exp(l) * l for l in logp)
    found['correct'][at] = logits.argmax() == targets[at]
  return found


@pytest.mark.parametrize('chunk', [0, 1, 4, 21, 100])
def test_any_chunk_gives_the_statistics_of_whole_logits(chunk):
  params, x, targets = inputs()
  found = head.per_token(unembed, params, x, targets, ALL, chunk=chunk)
  expected = slow(params, x, targets)
  for name in ALL:
    np.testing.assert_allclose(found[name], expected[name], atol=1e-5, err_msg=name)
  assert found['correct'].sum() > 0


@pytest.mark.parametrize('chunk', [4, 0])
def test_gradients_equal_those_of_whole_logits(chunk):
  params, x, targets = inputs()
  weights = np.random.default_rng(1).normal(size=(2, *TOKENS)).astype(np.float32)

  def chunked(params, x):
    found = head.per_token(unembed, params, x, targets, ALL, chunk=chunk)
    return jnp.sum(weights[0] * found['logp'] + weights[1] * found['entropy'])

  def whole(params, x):
    logp = jax.nn.log_softmax(x @ params)
    taken = jnp.take_along_axis(logp, targets[..., None], axis=-1)[..., 0]
    return jnp.sum(weights[0] * taken - weights[1] * jnp.sum(jnp.exp(logp) * logp, -1))

  for found, expected in zip(
    jax.grad(chunked, (0, 1))(params, x), jax.grad(whole, (0, 1))(params, x), strict=True
  ):
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(('most', 'low', 'high'), [(0, 0.0, 0.6), (2**25, 0.9, 1.3)])
def test_logits_of_all_tokens_exist_once_or_not_at_all(monkeypatch, most, low, high):
  """Of [tokens, words] no array stands in the program, or one where all logits are few."""
  monkeypatch.setattr(head, '_MOST_LOGITS', most)
  tokens, words, chunk = 640, 4096, 64
  params, x = jnp.zeros((WIDTH, words)), jnp.zeros((tokens, WIDTH))
  targets = jnp.zeros(tokens, jnp.int32)

  def loss(params, x):
    return head.per_token(unembed, params, x, targets, ALL, chunk=chunk)['logp'].sum()

  memory = jax.jit(jax.grad(loss, (0, 1))).lower(params, x).compile().memory_analysis()
  assert low <= memory.temp_size_in_bytes / (tokens * words * 4) <= high


def test_words_of_probability_zero_leave_entropy_and_gradient_finite():
  logits = jnp.array([[0.0, -jnp.inf, 1.0]])
  target = jnp.array([2])
  value, grad = jax.value_and_grad(lambda x: head.entropy(x, target).sum())(logits)
  p = np.exp([0.0, 1.0]) / np.exp([0.0, 1.0]).sum()
  np.testing.assert_allclose(value, -(p * np.log(p)).sum(), rtol=1e-6)
  assert np.isfinite(grad).all()
