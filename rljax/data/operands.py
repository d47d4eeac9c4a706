"""What tasks of two numbers share: their draws, and where the answer stands."""

from __future__ import annotations

import numpy as np


def draw_operands(
  rng: np.random.Generator, n: int, min_digits: int, max_digits: int
) -> list[tuple[int, int]]:
  """`n` pairs of numbers: digits uniform and independent, numbers uniform among those of so many.

  Numbers of one digit include 0.
  """
  digits = rng.integers(min_digits, max_digits + 1, (2, n))
  low = np.where(digits == 1, 0, 10 ** (digits - 1))
  left, right = rng.integers(low, 10**digits).tolist()
  return list(zip(left, right, strict=True))


def check_digits(min_digits: int, max_digits: int, most: int) -> None:
  """Raises ValueError unless they are a range within 1..`most`."""
  if not 1 <= min_digits <= max_digits <= most:
    raise ValueError(
      f'Digits must satisfy 1 <= min_digits <= max_digits <= {most}; got {min_digits}, '
      f'{max_digits}.'
    )


def after_bracket(completion: str) -> str | None:
  """The text after the last closing bracket; the whole completion if there is none."""
  return completion.rpartition(')')[2] or None
