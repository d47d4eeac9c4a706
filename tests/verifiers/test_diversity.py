"""Signals of diversity: by hand, in their range, and as columns."""

import itertools
import math
import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rljax import verifiers

TEXT = "The cat sat. The dog sat on the mat! It's late, and the cat left."


def test_every_signal_by_hand():
  words = re.findall(r"[a-z']+", TEXT.lower())
  found = verifiers.diversity_signals(TEXT)
  assert len(words) == 15 and len(set(words)) == 10
  np.testing.assert_allclose(found['lexical'], math.log(10) / math.log(15))
  counts = [4, 2, 2] + [1] * 7  # the, cat, sat
  entropy = -sum(n / 15 * math.log(n / 15) for n in counts)
  np.testing.assert_allclose(found['token_entropy'], entropy / math.log(15))
  assert found['sentence_pattern'] == 1.0
  pairs = set(itertools.pairwise(words))
  assert len(pairs) == 13  # 'the cat' stands there twice
  np.testing.assert_allclose(found['bigram'], 13 / 14)
  c = math.sqrt(((3 - 5) ** 2 + (6 - 5) ** 2 + (6 - 5) ** 2) / 3) / 5
  np.testing.assert_allclose(found['sentence_length'], c / (1 + c))
  first, second = {'the', 'cat', 'sat'}, {'the', 'dog', 'sat', 'on', 'mat'}
  third = {"it's", 'late', 'and', 'the', 'cat', 'left'}
  jaccard = [2 / 6, 1 / 10]
  assert len(first & second) == 2 and len(second & third) == 1
  np.testing.assert_allclose(found['adjacent_sentence'], 1 - sum(jaccard) / 2)
  np.testing.assert_allclose(found['yule'], 1 - (16 + 4 + 4 + 7 - 15) / 225)
  np.testing.assert_allclose(found['function_word'], 3 / 6)  # the (4), on, and


def test_repetition_has_less_of_every_signal():
  once = verifiers.diversity_signals(TEXT)
  often = verifiers.diversity_signals('The cat sat. ' * 5)
  assert all(often[name] < once[name] for name in once)
  assert often['sentence_pattern'] == often['sentence_length'] == often['adjacent_sentence'] == 0


def test_texts_without_words_or_sentences():
  for text in ('', 'word', '?! ...', '\n'):
    assert set(verifiers.diversity_signals(text).values()) == {0.0}
  assert verifiers.diversity_signals('same same')['lexical'] == 0.0
  assert verifiers.diversity_signals('two words')['bigram'] == 1.0


def test_columns_are_the_signals_and_their_plain_mean():
  columns = verifiers.diversity_columns([TEXT, 'The cat sat. ' * 5, ''])
  assert len(columns) == 9 and all(c.dtype == np.float32 for c in columns.values())
  signals = verifiers.diversity_signals(TEXT)
  np.testing.assert_allclose(columns['diversity'][0], sum(signals.values()) / 8, rtol=1e-6)
  np.testing.assert_allclose(columns['yule'][0], signals['yule'], rtol=1e-6)
  assert columns['diversity'][0] > columns['diversity'][1] > columns['diversity'][2] == 0
  assert verifiers.diversity_columns([])['diversity'].shape == (0,)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(st.sampled_from("abAB it's. !?\n12,"), max_size=60))
def test_every_signal_is_in_its_range_whatever_the_text(text):
  values = verifiers.diversity_signals(text).values()
  assert all(0.0 <= value <= 1.0 for value in values)
