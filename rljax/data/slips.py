"""Slips of the pen in demonstrations."""

from __future__ import annotations

import numpy as np


def slipped(number: int, rng: np.random.Generator) -> int:
  """`number` (at least 0) with one of its digits replaced by another digit."""
  digits = list(str(number))
  place = int(rng.integers(len(digits)))
  digits[place] = str((int(digits[place]) + int(rng.integers(1, 10))) % 10)
  return int(''.join(digits))
