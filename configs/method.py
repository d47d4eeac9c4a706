"""The quickstart with another method: `--config=configs/method.py:dapo`.

python -m experiments.train --config=configs/method.py:gspo --config.method_kwargs.clip_low=1e-3
"""

import difflib
import inspect

from configs import base
from rljax import methods
from rljax.types import Method


def get_config(method='grpo'):
  names = method_names()
  if method not in names:
    near = difflib.get_close_matches(method, names, 1)
    hint = f'Did you mean {near[0]!r}? ' if near else ''
    raise ValueError(f'There is no method {method!r}. {hint}Methods: {", ".join(names)}.')
  config = base.get_config()
  base.use_method(config, method)
  if method == 'dapo':
    config.rl.refill = 10
  if method == 'cure':
    config.rl.group_size = 4  # and three branches of each
  if method == 'verl':
    config.method_kwargs.stride = 4  # completions are short
  return config


def method_names() -> list[str]:
  """All that `rljax.methods` offers by name."""
  return [name for name in dir(methods) if _builds_method(getattr(methods, name))]


def _builds_method(factory):
  """Whether this makes a method by name: keyword arguments alone, and returns a Method."""
  if not inspect.isfunction(factory):
    return False
  signature = inspect.signature(factory)
  return signature.return_annotation in (Method, 'Method') and all(
    p.kind is p.KEYWORD_ONLY for p in signature.parameters.values()
  )
