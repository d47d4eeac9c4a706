"""Scores of words: BLEU of short answers, phrases of reasoning, repetition."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rljax import verifiers

PHRASES = ['wait', 'we know that', 'therefore', 'let me check']
words = st.lists(st.sampled_from('abc'), max_size=9)


def slow_bleu(answer, reference):
  order = min(4, len(reference))
  if not order or not answer:
    return 0.0
  product = 1.0
  for n in range(1, order + 1):
    grams = [answer[i : i + n] for i in range(len(answer) - n + 1)]
    known = [reference[i : i + n] for i in range(len(reference) - n + 1)]
    matched = 0
    for gram in grams:
      if gram in known:
        known.remove(gram)  # so that no n-gram counts more often than it stands there
        matched += 1
    product *= matched / len(grams) if grams else 0.0
  short = len(answer) < len(reference)
  return (math.exp(1 - len(reference) / len(answer)) if short else 1.0) * product ** (1 / order)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(words, words)
def test_bleu_equals_a_loop(answer, reference):
  found = verifiers.length_aware_bleu(' '.join(answer), ' '.join(reference))
  assert found == pytest.approx(slow_bleu(answer, reference), rel=1e-10)


@pytest.mark.parametrize('text', ['a', 'a b', 'a b c', 'a b c d', 'one two three four five six'])
def test_an_exact_answer_of_any_length_has_bleu_one(text):
  assert verifiers.length_aware_bleu(text, text) == pytest.approx(1.0, rel=1e-12)


def test_bleu_of_nothing_is_zero_and_a_short_answer_pays_for_brevity():
  assert verifiers.length_aware_bleu('', 'a b') == verifiers.length_aware_bleu('a', ' ') == 0.0
  assert verifiers.length_aware_bleu('a b', 'a b c') == 0.0  # no three words
  found = verifiers.length_aware_bleu('a b c d', 'a b c d e')
  assert found == pytest.approx(math.exp(-0.25))


def slow_ratio(text, n):
  found = text.split()
  grams = [tuple(found[i : i + n]) for i in range(len(found) - n + 1)]
  return len({g for g in grams if grams.count(g) > 1}) / len(grams) if grams else 0.0


@settings(max_examples=100, deadline=None, derandomize=True)
@given(words, st.integers(1, 4))
def test_repetition_equals_a_loop(found, n):
  text = ' '.join(found)
  assert verifiers.repeated_ngram_ratio(text, n=n) == pytest.approx(slow_ratio(text, n), rel=1e-12)


def test_fewer_than_twenty_words_repeat_nothing():
  assert verifiers.repeated_ngram_ratio('again ' * 19) == 0.0
  assert verifiers.repeated_ngram_ratio('again ' * 20) == 0.0  # one place
  assert verifiers.repeated_ngram_ratio('again ' * 21) == 0.5  # one n-gram at two places


def test_phrases_count_once_whatever_their_case():
  text = 'Wait, wait. We know that this is so. THEREFORE'
  assert verifiers.rpr_score(text, PHRASES) == pytest.approx(3 / 20)
  assert verifiers.rpr_score(text, PHRASES, enough=3) == 1.0
  assert verifiers.rpr_score(text, PHRASES, enough=2) == 1.0  # not more
  assert verifiers.rpr_score('', PHRASES) == 0.0


def test_the_cap_is_before_the_deductions_and_the_floor_after_them():
  text = 'wait therefore ' + 'x ' * 21
  ratio = slow_ratio(text, 20)
  assert ratio > 0
  assert verifiers.rpr_score(text, PHRASES, enough=1) == pytest.approx(1 - ratio)
  assert verifiers.rpr_score('wait User: wait', PHRASES, enough=1) == 0.0
  assert verifiers.rpr_score('user: user: wait', PHRASES, enough=1) == 0.0  # -1


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([*PHRASES, 'x', 'user:', 'so']), max_size=30))
def test_the_pattern_reward_equals_a_loop(parts):
  text = ' '.join(parts)
  hits = 0
  for phrase in PHRASES:
    hits += phrase in text
  expected = min(1, hits / 2) - slow_ratio(text, 3) - (len(text.split('user: ')) - 1)
  found = verifiers.rpr_score(text, PHRASES, enough=2, n=3)
  np.testing.assert_allclose(found, max(0, expected), atol=1e-12)
