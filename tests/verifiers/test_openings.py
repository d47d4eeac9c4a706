"""Tags of difficulty and spans of thought."""

import pytest

from rljax import shaping, verifiers


@pytest.mark.parametrize(
  ('text', 'tag'),
  [
    ('[Easy]', shaping.EASY),
    ('[hArD] so', shaping.HARD),
    (' [Easy]', shaping.MISSING),
    ('[Easy', shaping.MISSING),
    ('xEasy]', shaping.MISSING),
    ('', shaping.MISSING),
  ],
)
def test_a_tag_is_the_first_six_characters(text, tag):
  assert verifiers.difficulty_tag(text) == tag


@pytest.mark.parametrize(
  ('text', 'reward'),
  [
    ('<think></think>', 1.0),
    ('<think> \n 123456789 \n </think>', 1.0),
    ('<think>1234567890</think>', 0.0),
    ('<think>1</think><think>1234567890</think>', 1.0),
    ('<think>1', 0.0),
    ('no thought', 0.0),
  ],
)
def test_a_thought_is_short_below_ten_characters(text, reward):
  assert verifiers.short_thought(text) == reward
  assert verifiers.short_thought('<think>abc</think>', max_characters=3) == 0.0
