"""Policy optimisation of language models in JAX, as pure functions.

Submodules are imported when they are first used, so `import rljax` loads no model code and touches
no device: `import rljax; rljax.advantages.grpo(rewards)` pays for the advantages only.
"""

from __future__ import annotations

import difflib
import importlib

__version__ = '0.1.0'

__all__ = [
  'advantages',
  'aggregation',
  'checkpoints',
  'data',
  'divergences',
  'evaluation',
  'groups',
  'methods',
  'models',
  'ratios',
  'sampling',
  'selection',
  'shaping',
  'stats',
  'surrogates',
  'training',
  'types',
  'verifiers',
]


def __getattr__(name: str):
  """Imports a submodule on first use (PEP 562)."""
  if name in __all__:
    return importlib.import_module(f'{__name__}.{name}')
  close = difflib.get_close_matches(name, __all__, n=1)
  hint = f' Did you mean {close[0]!r}?' if close else ''
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}.{hint}')


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
