"""Policy optimisation of language models in JAX, as pure functions.

Submodules are imported when they are first used, so `import rljax` loads no model code and touches
no device: `import rljax; rljax.advantages.grpo(rewards)` pays for the advantages only.

The functions work in any stack. As an advantage estimator that takes and returns NumPy rows (Tunix
registers such a function with `function_registry.register_advantage_estimator`):

>>> import jax.numpy as jnp
>>> import numpy as np
>>> from rljax import advantages, preference, ratios, surrogates
>>> def centred(rewards, num_generations):
...   return np.asarray(advantages.center(rewards.reshape(-1, num_generations))).reshape(-1)
>>> centred(np.array([1.0, 0.0, 0.0, 1.0, 1.0, 1.0], np.float32), num_generations=2)
array([ 0.5, -0.5, -0.5,  0.5,  0. ,  0. ], dtype=float32)

As a loss over `[B, T]` arrays, such as MaxText's:

>>> logp = old_logp = jnp.log(jnp.full((2, 3), 0.5))
>>> adv, mask = jnp.array([1.0, -0.5]), jnp.array([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
>>> per_token = surrogates.clipped(ratios.token(logp, old_logp), adv[:, None], 0.16, 0.24)
>>> (per_token * mask).sum() / mask.sum()
Array(-0.625, dtype=float32)

As a preference loss over sums of log-probabilities `[P]`, such as EasyDeL's:

>>> chosen, ref_chosen = jnp.array([-12.0, -30.0]), jnp.array([-13.0, -31.0])
>>> rejected, ref_rejected = jnp.array([-15.0, -28.0]), jnp.array([-14.0, -30.0])
>>> log_ratio = jnp.stack([chosen - ref_chosen, rejected - ref_rejected], axis=-1)
>>> round(float(preference.dpo(log_ratio, beta=0.1).mean()), 4)
0.6713
"""

from __future__ import annotations

import difflib
import importlib

__version__ = '0.1.0'

__all__ = [
  'advantages',
  'aggregation',
  'balance',
  'checkpoints',
  'controllers',
  'curricula',
  'data',
  'divergences',
  'evaluation',
  'groups',
  'merging',
  'methods',
  'models',
  'preference',
  'ratios',
  'reward_weights',
  'sampling',
  'selection',
  'shaping',
  'stats',
  'surrogates',
  'token_weights',
  'training',
  'types',
  'verifiers',
  'vocabulary',
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
