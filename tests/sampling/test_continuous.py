"""Continuous batching draws what drawing all at once draws, whatever enters and leaves when."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import models, sampling

VOCAB, EOS, LENGTH = 17, 2, 12
SHALLOW = models.DecoderConfig(
  vocab_size=VOCAB,
  dim=16,
  num_layers=2,
  num_heads=4,
  num_kv_heads=2,
  head_dim=4,
  ff_dim=16,
  tied=False,
)
CONFIGS = {
  'shallow': SHALLOW,
  'looped': models.DecoderConfig(**{**vars(SHALLOW), 'num_layers': 9}),  # with a stacked cache
  'windowed': models.DecoderConfig(**{**vars(SHALLOW), 'windows': (3, 0)}),
}


@functools.cache
def policy(name):
  model = models.decoder(CONFIGS[name])
  params = models.init(jax.random.key(0), model.specs)
  return model, {**params, 'head': 2 * params['head']}


def prompts(count=6, width=5):
  rng = np.random.default_rng(0)
  tokens = rng.integers(3, VOCAB, (count, width))
  lengths = rng.integers(1, width + 1, count)
  lengths[:2] = 1, width
  return np.where(np.arange(width) >= width - lengths[:, None], tokens, -1).astype(np.int32)


def draw(name, in_flight, seed=0, **options):
  model, params = policy(name)
  settings = {'group_size': 4, 'max_new_tokens': LENGTH, 'eos': EOS} | options

  def run(params, prompt, key):
    return sampling.sample(model, params, prompt, key, in_flight=in_flight, **settings)

  quick = jax.jit(run, compiler_options={'xla_backend_optimization_level': 0})
  samples = quick(params, prompts(), jax.random.key(seed))
  return jax.tree.map(np.asarray, samples)


def assert_same(found, wanted):
  np.testing.assert_array_equal(found.completion, wanted.completion)
  np.testing.assert_array_equal(found.truncated, wanted.truncated)
  np.testing.assert_allclose(found.logp, wanted.logp, atol=1e-5)


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize(
  ('name', 'in_flight'), [('shallow', 1), ('shallow', 5), ('looped', 5), ('windowed', 5)]
)
def test_completions_are_those_of_drawing_all_at_once(name, in_flight):
  wanted = draw(name, None)
  lengths = (wanted.completion >= 0).sum(-1)
  assert len(np.unique(lengths)) > 4 and 0 < wanted.truncated.mean() < 1
  assert_same(draw(name, in_flight), wanted)


@pytest.mark.nightly
@pytest.mark.slow
def test_more_rows_than_completions_is_all_at_once():
  assert_same(draw('shallow', 1000), draw('shallow', None))


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('in_flight', [None, 5])
def test_a_completion_ends_at_its_own_limit(in_flight):
  free = draw('shallow', in_flight)
  limits = np.random.default_rng(1).integers(1, LENGTH + 3, free.truncated.shape)
  found = draw('shallow', in_flight, limits=limits)
  kept = np.arange(LENGTH) < limits[..., None]
  np.testing.assert_array_equal(found.completion, np.where(kept, free.completion, -1))
  lengths = (free.completion >= 0).sum(-1)
  ended = (free.truncated == 0) & (lengths <= limits)
  np.testing.assert_array_equal(found.truncated, 1 - ended)
  of_prompts = draw('shallow', in_flight, limits=np.full(6, 3))
  np.testing.assert_array_equal(of_prompts.completion[..., :3], free.completion[..., :3])
  assert (of_prompts.completion[..., 3:] == -1).all()


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize('in_flight', [None, 5])
def test_every_stop_id_ends_a_completion(in_flight):
  free = draw('shallow', in_flight, eos=VOCAB)  # no word
  assert free.truncated.all()
  found = draw('shallow', in_flight, eos=(EOS, 5))
  for tokens, whole, truncated in zip(
    found.completion.reshape(-1, LENGTH),
    free.completion.reshape(-1, LENGTH),
    found.truncated.ravel(),
    strict=True,
  ):
    ends = np.flatnonzero(np.isin(whole, (EOS, 5)))
    length = ends[0] + 1 if len(ends) else LENGTH
    np.testing.assert_array_equal(tokens, np.where(np.arange(LENGTH) < length, whole, -1))
    assert truncated == (len(ends) == 0)


def test_state_starts_anew_with_each_completion():
  once = sampling.join(
    sampling.min_new_tokens(3, EOS), sampling.repetition_penalty(1e9, VOCAB)
  )  # in effect, no positive logit twice
  wanted = draw('shallow', None, processor=once)
  assert ((wanted.completion >= 0).sum(-1) > 3).all()
  assert_same(draw('shallow', 5, processor=once), wanted)
  assert (draw('shallow', None).completion != wanted.completion).any()


def test_a_model_without_features_is_refused():
  model, params = policy('shallow')
  plain = models.Model(model.apply, model.init_cache, None)
  with pytest.raises(ValueError, match='needs a model with `features`'):
    sampling.sample(
      plain,
      params,
      prompts(),
      jax.random.key(0),
      group_size=4,
      max_new_tokens=4,
      eos=2,
      in_flight=2,
    )


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'in_flight': 0}, 'in_flight is 0'),
    ({'limits': jnp.ones((4, 6))}, r'limits has shape \(4, 6\); expected \(6,\) or \(6, 4\)'),
    ({'eos': ()}, 'eos is empty'),
  ],
)
def test_bad_options_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    draw('shallow', **{'in_flight': None} | options)
