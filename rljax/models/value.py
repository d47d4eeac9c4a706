"""A value model: a decoder whose head gives one number a token in place of the logits."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from rljax.models.decoder import Model
from rljax.models.specs import Spec


def value_model(model: Model) -> Model:
  """The decoder with a scalar head: what `model` calls logits has a vocabulary of one, `[..., 1]`.

  Its parameters are the decoder's but for an unembedding of its own, and `value_head`, `[D]`, which
  starts at zero; `value_params` makes them from a policy's.

  Raises:
    ValueError: if the model does not offer its activations.
  """
  if model.features is None:
    raise ValueError(
      'A value model needs model.features, the activations before the head; this model offers '
      'apply alone.'
    )

  def unembed(params, x):
    # A return is known to more digits than bfloat16 has.
    x, head = x.astype(jnp.float32), params['value_head'].astype(jnp.float32)
    return jnp.einsum('...d,d->...', x, head)[..., None]

  def apply(params, tokens, positions, cache=None):
    x, cache = model.features(params, tokens, positions, cache)
    return unembed(params, x), cache

  head = Spec(model.specs['final_norm'].shape, (None,), 0.0)
  specs = {**_without_head(model.specs), 'value_head': head}
  return model._replace(apply=apply, unembed=unembed, specs=specs)


def value_params(params: Any) -> Any:
  """Parameters of `value_model` that start from a decoder's: every value is 0 at first.

  The arrays are those that were given, not copies.
  """
  return {**_without_head(params), 'value_head': jnp.zeros_like(params['final_norm'])}


def _without_head(tree):
  return {name: leaf for name, leaf in tree.items() if name != 'head'}
