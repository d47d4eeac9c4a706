"""Numbers per completion from the activations before the head, one completion at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

Feature = Callable[[jax.Array, jax.Array], jax.Array]


def per_completion(
  features: Mapping[str, Feature],
  x: jax.Array,
  real: jax.Array,
  places: jax.Array | None = None,
) -> dict[str, jax.Array]:
  """Features of the activations of every completion, by name, each `[*N, ...]`.

  They are computed in a loop over completions, so what one needs on its way, such as a singular
  value decomposition, exists once. They carry no gradient.

  Args:
    features: `(x [T, D] float32, real [T]) -> [...]` by name; `x` is 0 where `real` is.
    x: `[*N, T, D]`, or with `places` the slots of `pack_completions`, `[P, S, W, D]`.
    real: float32 `[*N, T]`, 1 where there is a token.
    places: int `[P, G, T]`, where each token stands among the S * W of its prompt.
  """

  def of_one(x, real):
    x = jnp.where(real[:, None] > 0, x.astype(jnp.float32), 0.0)
    return {name: feature(x, real) for name, feature in features.items()}

  def of_prompt(part):
    x, real, places = part
    return jax.lax.map(lambda one: of_one(x[one[0]], one[1]), (places, real))

  x = jax.lax.stop_gradient(x)
  if places is not None:
    slots = x.reshape(len(x), -1, x.shape[-1])  # [P, S, W, D] -> [P, S * W, D]
    return jax.lax.map(of_prompt, (slots, real, places))
  lead = real.shape[:-1]
  rows = jax.tree.map(lambda a: a.reshape(-1, *a.shape[len(lead) :]), (x, real))
  found = jax.lax.map(lambda one: of_one(*one), rows)
  return jax.tree.map(lambda a: a.reshape(*lead, *a.shape[1:]), found)
