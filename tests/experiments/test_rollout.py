"""A rollout's sampling options, from the configuration to the completions."""

import jax
import numpy as np
import pytest

from configs import quickstart
from experiments import build, cli
from experiments.errors import UserError
from experiments.rollout import encode_prompts, make_sampler, rollout
from rljax import data

CONFIG = cli.settle(quickstart.get_config(), tiny=True)


@pytest.fixture(scope='module')
def parts():
  return build.check(CONFIG)


def drawn(parts, **changes):
  rl = CONFIG.rl.copy_and_resolve_references()
  with rl.unlocked():
    rl.update(changes)
  sampler = make_sampler(
    parts,
    group_size=4,
    max_new_tokens=12,
    warp=build.warp(rl),
    processor=build.processor(rl, parts),
    in_flight=rl.in_flight,
  )
  problems = data.prompts(parts.task, 0, 0, 4)
  params = build.initial_params(parts, 0)
  return rollout(parts, sampler, params, problems, jax.random.key(1))


def test_drawing_a_few_at_a_time_changes_nothing(parts):
  wanted, found = drawn(parts), drawn(parts, in_flight=3)
  np.testing.assert_array_equal(found.batch.completion, wanted.batch.completion)
  for name in wanted.numbers:
    np.testing.assert_array_equal(found.numbers[name], wanted.numbers[name])
  logp = found.batch.behavior_logp
  np.testing.assert_allclose(logp, wanted.batch.behavior_logp, atol=1e-5)


def test_a_method_steers_its_sampler_with_a_state_that_may_change(parts):
  def cooled(state, logits):
    return logits / state

  rl = CONFIG.rl.copy_and_resolve_references()
  shared = {'group_size': 4, 'max_new_tokens': 12}
  steered = make_sampler(parts, warp=lambda x: x, draws=cooled, **shared)
  params, key = build.initial_params(parts, 0), jax.random.key(1)
  prompt = encode_prompts(parts, data.prompts(parts.task, 0, 0, 4))[:, 0]
  ids = np.arange(4, dtype=np.int32)
  for temperature in (0.5, 2.0):
    rl.temperature = temperature
    plain = make_sampler(parts, warp=build.warp(rl), **shared)
    expected = plain(params, prompt, key, ids)
    found = steered(params, prompt, key, ids, state=np.float32(temperature))
    np.testing.assert_array_equal(found.completion, expected.completion)
    np.testing.assert_allclose(found.logp, expected.logp, atol=1e-5)
  assert steered._cache_size() == 1


def test_completions_end_at_a_stop_text(parts):
  tokenizer = parts.tokenizer
  whole = drawn(parts).batch.completion.reshape(-1, 12)
  texts = [tokenizer.decode(ids) for ids in whole]
  # A text of two tokens that some completion holds before its end.
  stop = next(text[2:4] for text in texts if len(text) > 5)
  ended = drawn(parts, stop=(stop,)).batch
  for ids, text, truncated in zip(
    ended.completion.reshape(-1, 12), texts, ended.truncated.ravel(), strict=True
  ):
    before, found, _ = text.partition(stop)
    assert tokenizer.decode(ids) == before + found
    assert truncated == (not found and len(text) == 12)


def test_an_empty_stop_text_is_refused(parts):
  with pytest.raises(UserError, match=r'rl.stop: .* none empty'):
    drawn(parts, stop=('',))


@pytest.mark.parametrize(
  ('changes', 'message'),
  [({'min_p': 1.5}, 'min_p is 1.5'), ({'top_p': 0.0}, 'top_p is 0.0')],
)
def test_a_filter_out_of_range_is_refused(parts, changes, message):
  with pytest.raises(UserError, match=message):
    drawn(parts, **changes)
