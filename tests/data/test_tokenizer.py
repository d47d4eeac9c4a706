"""Characters to ids and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rljax.data.tokenizer import ARITHMETIC, REPLACEMENT, CharTokenizer


def test_ids_follow_the_alphabet_and_zero_is_the_end():
  tokenizer = CharTokenizer('ab+')
  assert (tokenizer.eos, tokenizer.vocab_size) == (0, 4)
  ids = tokenizer.encode('b+a')
  assert ids.dtype == np.int32
  np.testing.assert_array_equal(ids, [2, 3, 1])


def test_the_default_vocabulary_has_32_ids():
  assert CharTokenizer().vocab_size == 32
  assert len(set(ARITHMETIC)) == 31


@given(st.text(alphabet=ARITHMETIC))
def test_round_trip(text):
  tokenizer = CharTokenizer()
  assert tokenizer.decode(tokenizer.encode(text)) == text


def test_latin_characters_beyond_ascii_round_trip():
  tokenizer = CharTokenizer('1×÷')
  assert tokenizer.decode(tokenizer.encode('1×1÷1')) == '1×1÷1'


@pytest.mark.parametrize('ids', [[1, 2, 0, 3], [1, 2, -1, 3], [1, 2], [1, 2, 0, -1, -1]])
def test_decoding_stops_at_the_end_token_or_padding(ids):
  assert CharTokenizer('abc').decode(np.array(ids, np.int32)) == 'ab'


def test_nothing_before_the_end_is_the_empty_text():
  assert CharTokenizer('abc').decode([0, 1]) == ''
  assert CharTokenizer('abc').decode([]) == ''


def test_ids_beyond_the_vocabulary_are_visible():
  assert CharTokenizer('abc').decode([1, 4, 63, 3]) == f'a{REPLACEMENT}{REPLACEMENT}c'


@pytest.mark.parametrize('ids', [[1, -2, 0], [[1, 2]], [1.0, 2.0]])
def test_what_no_model_draws_is_an_error(ids):
  with pytest.raises(ValueError, match=r'below -1|integers'):
    CharTokenizer('abc').decode(ids)


@pytest.mark.parametrize('text', ['1+x', '1+é', '1+\u0661', '1+\U0001d7d9'])
def test_an_unknown_character_is_named_with_the_alphabet(text):
  with pytest.raises(ValueError) as error:
    CharTokenizer('?1+').encode(text)
  assert repr(text[2]) in str(error.value)
  assert 'position 2' in str(error.value)
  assert "'?1+'" in str(error.value)


@pytest.mark.parametrize('alphabet', ['', 'aba', 'a\u0661'])
def test_a_bad_alphabet_is_an_error(alphabet):
  with pytest.raises(ValueError, match='alphabet'):
    CharTokenizer(alphabet)
