"""Processors against plain Python on the text and the counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rljax import sampling

ALPHABET = st.text('ab', min_size=1, max_size=4)


def first_stop(words, tokens, strings):
  """Number of tokens after which the text holds one of the strings; None: never."""
  text = b''
  for count, token in enumerate(tokens, 1):
    text += words[token]
    if any(string.encode() in text for string in strings):
      return count
  return None


def stops_at(processor, tokens):
  state = processor.init()
  for count, token in enumerate(tokens, 1):
    state = processor.update(state, jnp.int32(token))
    if processor.done(state):
      return count
  return None


@settings(max_examples=60, deadline=None)
@given(
  words=st.lists(st.text('ab', max_size=5), min_size=1, max_size=6),
  strings=st.lists(ALPHABET, min_size=1, max_size=4),
  picks=st.lists(st.integers(0, 5), max_size=8),
)
def test_stop_strings_are_found_across_tokens(words, strings, picks):
  words = [word.encode() for word in words]
  tokens = [pick % len(words) for pick in picks]
  processor = sampling.stop_strings(words, strings)
  assert stops_at(processor, tokens) == first_stop(words, tokens, strings)


def test_a_stop_string_of_several_bytes_a_character():
  words = [b'\xe2\x88', b'\x92', b'x', '−y'.encode()]
  processor = sampling.stop_strings(words, ['−'])  # the minus sign, three bytes
  assert stops_at(processor, [2, 0, 2, 0, 1]) == 5
  assert stops_at(processor, [2, 3]) == 2
  assert stops_at(processor, [0, 0, 2]) is None


@pytest.mark.parametrize('strings', [[], [''], ['a', '']])
def test_no_stop_string_is_refused(strings):
  with pytest.raises(ValueError, match='one or more, none empty'):
    sampling.stop_strings([b'a'], strings)


def after(processor, tokens, logits):
  state = processor.init()
  for token in tokens:
    state = processor.update(state, jnp.int32(token))
  return np.asarray(processor.logits(state, jnp.asarray(logits, jnp.float32)))


def test_the_end_is_held_back_until_enough_tokens():
  processor = sampling.min_new_tokens(2, (0, 3))
  logits = [1.0, 2.0, 3.0, 4.0]
  for drawn in range(4):
    wanted = [-np.inf, 2.0, 3.0, -np.inf] if drawn < 2 else logits
    np.testing.assert_array_equal(after(processor, [1] * drawn, logits), wanted)


def test_penalties_on_words_that_were_drawn():
  logits = np.asarray([2.0, -2.0, 0.5, 1.0], np.float32)
  np.testing.assert_allclose(
    after(sampling.repetition_penalty(1.6, 4), [0, 1, 0], logits), [1.25, -3.2, 0.5, 1.0]
  )
  np.testing.assert_allclose(
    after(sampling.count_penalty(0.5, 0.1, 4), [0, 1, 0], logits), [1.3, -2.6, 0.5, 1.0], rtol=1e-6
  )


@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (lambda: sampling.min_new_tokens(-1, 0), 'min_new_tokens is -1'),
    (lambda: sampling.repetition_penalty(0.0, 4), 'repetition_penalty is 0.0'),
  ],
)
def test_bad_numbers_are_refused(make, message):
  with pytest.raises(ValueError, match=message):
    make()


def test_joined_processors_act_in_order_and_end_with_the_first():
  joined = sampling.join(sampling.count_penalty(1.0, 0.0, 3), sampling.repetition_penalty(2.0, 3))
  np.testing.assert_allclose(after(joined, [1], [3.0, 3.0, 3.0]), [3.0, 1.0, 3.0])
  words = [b'a', b'b', b'c']
  either = sampling.join(sampling.stop_strings(words, ['ab']), sampling.stop_strings(words, ['c']))
  assert stops_at(either, [0, 0, 1]) == 3 and stops_at(either, [0, 2]) == 2


def test_the_state_can_be_mapped_over_rows():
  processor = sampling.stop_strings([b'a', b'b'], ['ab', 'bb'])
  state = jnp.stack([processor.init()] * 3)
  for tokens in ([0, 1, 0], [1, 0, 0]):
    state = jax.vmap(processor.update)(state, jnp.asarray(tokens))
  np.testing.assert_array_equal(jax.vmap(processor.done)(state), [True, False, False])
