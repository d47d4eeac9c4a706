"""Completions of different lengths side by side, so that little of an update is padding.

A slot is a row of W tokens that several completions of the same prompt share without seeing each
other. `Batch.extras['packing']`, int32 `[P, S, W]`, says which token of the group stands where, as
`g * T + t`, or -1. `make_score` then computes S slots a prompt instead of G completions, and puts
the numbers back: scores, and all that a method makes of them, are those of the batch as it was.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from rljax.training import sharding
from rljax.types import Batch


def pack_completions(batch: Batch, multiple: int, mesh: Mesh | None = None) -> Batch:
  """The batch with `extras['packing']`; a function of the host, which waits for the completions.

  Slots are at least as wide as the longest completion of the batch, rounded up to a multiple, and
  at most twice that, whatever makes S * W least. Every prompt has as many as the fullest. Programs
  that are compiled for a batch depend on these two numbers: few, if the multiple is large.

  Args:
    batch: in the layout `(P, G)`.
    multiple: of W, in tokens.
    mesh: where the batch lives; None for one device.

  Raises:
    ValueError: if the batch is not in that layout or the multiple is below 1.
  """
  if batch.group is not None or batch.completion.ndim != 3:
    raise ValueError(
      f'Packing needs the (P, G) layout, completion [P, G, T]; this batch has completion '
      f'{batch.completion.shape}{" and row groups" if batch.group is not None else ""}.'
    )
  if multiple < 1:
    raise ValueError(f'multiple is {multiple}; it must be at least 1 token.')
  found = slots(sharding.to_hosts(_lengths(batch.completion)), batch.completion.shape[-1], multiple)
  if mesh is None:
    placed = jnp.asarray(found)
  else:
    own = found[sharding.local_rows(mesh, len(found))]
    placed = sharding.from_local_rows(mesh, len(found), own)
  return dataclasses.replace(batch, extras=batch.extras | {'packing': placed})


def slots(lengths: np.ndarray, longest: int, multiple: int) -> np.ndarray:
  """Where the tokens of every group stand, int32 `[P, S, W]`: `g * longest + t`, or -1.

  Args:
    lengths: int `[P, G]`, tokens of each completion.
    longest: T.
    multiple: of W, except where that is T.
  """
  least = min(longest, max(-(-int(lengths.max()) // multiple), 1) * multiple)
  # Wider ones waste less at their ends, but attention costs more.
  packed = {
    width: [_first_fit(row, width) for row in lengths]
    for width in range(least, 2 * least + 1, multiple)
  }
  size = {width: max(map(len, groups)) * width for width, groups in packed.items()}
  width = min(size, key=lambda width: (size[width], width))
  groups = packed[width]
  found = np.full((len(lengths), max(map(len, groups)), width), -1, np.int32)
  for prompt, group in enumerate(groups):
    for slot, members in enumerate(group):
      tokens = np.concatenate([g * longest + np.arange(lengths[prompt, g]) for g in members])
      found[prompt, slot, : len(tokens)] = tokens
  return found


def packed_tokens(batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Tokens of the slots, their places in their completions, and the completions' numbers.

  Each int32 `[P, S, W]`, -1 where nothing stands.
  """
  packing = batch.extras['packing']
  prompts, _, length = batch.completion.shape
  there = packing >= 0
  flat = jnp.maximum(packing, 0).reshape(prompts, -1)
  tokens = jnp.take_along_axis(batch.completion.reshape(prompts, -1), flat, axis=1)
  tokens = jnp.where(there, tokens.reshape(packing.shape), -1)
  return tokens, jnp.where(there, packing % length, -1), jnp.where(there, packing // length, -1)


def unpack(x: jax.Array, batch: Batch) -> jax.Array:
  """Numbers of the slots' tokens `[P, S, W]` at their places in `[P, G, T]`, the rest 0."""
  prompts, members, length = batch.completion.shape
  packing = batch.extras['packing'].reshape(prompts, -1)
  places = jnp.where(packing >= 0, packing, members * length)  # one past the end, and dropped
  empty = jnp.zeros((prompts, members * length), x.dtype)
  put = jax.vmap(lambda row, at, new: row.at[at].set(new, mode='drop'))
  return put(empty, places, x.reshape(prompts, -1)).reshape(batch.completion.shape)


def places(batch: Batch) -> jax.Array:
  """Where each token `[P, G, T]` stands among the S * W of its prompt; 0 where there is none."""
  packing = batch.extras['packing']
  slots = jnp.arange(packing[0].size, dtype=packing.dtype).reshape(packing.shape[1:])
  return unpack(jnp.broadcast_to(slots, packing.shape), batch)


@jax.jit
def _lengths(completion):
  return jnp.sum(completion >= 0, axis=-1)


def _first_fit(lengths, width) -> list[list[int]]:
  """Members of each slot, from the longest completion to the shortest where each first fits."""
  found: list[list[int]] = []
  left: list[int] = []
  for g in np.argsort(-lengths, kind='stable'):
    size = int(lengths[g])
    slot = next((i for i, room in enumerate(left) if room >= size), len(found))
    if slot == len(found):
      found.append([])
      left.append(width)
    found[slot].append(int(g))
    left[slot] -= size
  return found
