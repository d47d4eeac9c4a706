"""Draws completions with a key-value cache: one prefill a prompt, then a jitted loop over tokens.

The noise of a completion depends on the key, its prompt's id, its number in the group and the
token's number, and on nothing else: neither the neighbours in the batch nor the group size change a
draw.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rljax.models import cache as caches
from rljax.models.decoder import Model, token_positions
from rljax.sampling.continuous import continuous
from rljax.sampling.law import law
from rljax.sampling.processors import Processor

_LEAST_BUCKET, _MOST_BUCKETS = 64, 4  # tokens; loops


class Samples(NamedTuple):
  """What `sample` returns.

  Attributes:
    completion: int32 `[P, G, T]`, -1 after the end token, which is part of the completion.
    logp: float32 `[P, G, T]`, log-probability of each token under the distribution it was drawn
      from, 0 where there is none.
    truncated: float32 `[P, G]`, 1 where no end token was drawn within T.
  """

  completion: jax.Array
  logp: jax.Array
  truncated: jax.Array


def sample(
  model: Model,
  params,
  prompt: jax.Array,
  key: jax.Array,
  *,
  group_size: int,
  max_new_tokens: int,
  eos: int | Sequence[int],
  warp: Callable[[jax.Array], jax.Array] = lambda logits: logits,
  processor: Processor | None = None,
  limits: jax.Array | None = None,
  in_flight: int | None = None,
  ids: jax.Array | None = None,
) -> Samples:
  """Draws `group_size` completions for each prompt.

  Args:
    model: the model.
    params: its parameters.
    prompt: int `[P, Tp]`, left-padded with -1; at least one token each.
    key: PRNG key; fold the training step into it.
    group_size: G.
    max_new_tokens: T.
    eos: the token that ends a completion, or several of them.
    warp: `logits -> logits`, from `rljax.sampling.warps`.
    processor: from `rljax.sampling.processors`; may end a completion too.
    limits: int `[P]` or `[P, G]`, most tokens of each completion, clipped to 1..T; T if None.
    in_flight: how many completions are drawn at a time: one that ends makes room for the next, so
      that long ones hold nobody up. None, or P * G and more: all, which costs the least while most
      are still going on. It changes no completion beyond float rounding.
    ids: int `[P]`, folded into the key; 0, 1, 2, ... if None.

  Raises:
    ValueError: if a size is below 1, an array has another shape than said, or `in_flight` is asked
      of a model without `features`.
  """
  if prompt.ndim != 2:
    raise ValueError(f'prompt has shape {prompt.shape}; expected [P, Tp].')
  if group_size < 1 or max_new_tokens < 1:
    raise ValueError(
      f'group_size ({group_size}) and max_new_tokens ({max_new_tokens}) must be at least 1.'
    )
  if in_flight is not None and in_flight < 1:
    raise ValueError(f'in_flight is {in_flight}; it must be at least 1.')
  num_prompts = prompt.shape[0]
  shape = (num_prompts, group_size)
  rows = num_prompts * group_size
  ids = jnp.arange(num_prompts) if ids is None else ids
  keys = jax.vmap(
    lambda i: jax.vmap(lambda g: jax.random.fold_in(jax.random.fold_in(key, i), g))(
      jnp.arange(group_size)
    )
  )(ids).reshape(rows)
  limits = _limits(limits, shape, max_new_tokens)
  rule = law(eos, warp, processor)

  if in_flight is not None and in_flight < rows:
    if model.features is None:
      raise ValueError(
        'in_flight needs a model with `features`, whose cache has rows that can be replaced one by '
        'one; leave it None for this model.'
      )
    tokens, logps, ended = continuous(
      model, params, prompt, keys, rule, limits, max_new_tokens, in_flight
    )
  else:
    tokens, logps, ended = _together(model, params, prompt, keys, rule, limits, max_new_tokens)
  return Samples(
    completion=tokens.reshape(*shape, max_new_tokens),
    logp=logps.reshape(*shape, max_new_tokens),
    truncated=1.0 - ended.reshape(shape).astype(jnp.float32),
  )


def _limits(limits, shape, max_new_tokens):
  """int32 `[P * G]`, or None where every completion may have all tokens."""
  if limits is None:
    return None
  limits = jnp.asarray(limits, jnp.int32)
  if limits.shape not in (shape, shape[:1]):
    raise ValueError(f'limits has shape {limits.shape}; expected {shape[:1]} or {shape}.')
  limits = jnp.broadcast_to(limits.reshape(*limits.shape, *(1,) * (2 - limits.ndim)), shape)
  return jnp.clip(limits, 1, max_new_tokens).reshape(-1)


def _together(model, params, prompt, keys, rule, limits, max_new_tokens):
  """Tokens and log-probabilities `[B, T]` and whether each ended `[B]`, all drawn in step."""
  rows = len(keys)
  group_size = rows // len(prompt)
  positions = token_positions(prompt)
  start = jnp.repeat(positions[:, -1] + 1, group_size)  # [B], the position of the first new token
  logits, cache, ends = _prefill(model, params, prompt, positions, group_size, max_new_tokens)
  params = model.unstack(params)

  def live(t, ended):
    return ~ended if limits is None else ~ended & (t < limits)

  def draw(t, logits, state, ended):
    going = live(t, ended)
    token, logp, last, state = rule.draw(
      jax.vmap(jax.random.fold_in, (0, None))(keys, t), logits, state
    )
    token, logp = jnp.where(going, token, -1), jnp.where(going, logp, 0.0)
    return token, logp, ended | (going & last), state

  def write(t, tokens, logps, token, logp):
    at = (0, t)
    return (
      jax.lax.dynamic_update_slice(tokens, token[:, None], at),
      jax.lax.dynamic_update_slice(logps, logp[:, None], at),
    )

  def unfinished(end, carry):
    t, _, ended, *_ = carry
    return (t < end) & jnp.any(live(t, ended))

  def step(carry):
    t, token, ended, state, tokens, logps, cache = carry
    # A finished row writes position -1 into the cache: a slot that nobody sees.
    position = jnp.where(live(t, ended), start + t - 1, -1)
    logits, cache = model.apply(params, token[:, None], position[:, None], cache)
    token, logp, ended, state = draw(t, logits[:, 0], state, ended)
    return t + 1, token, ended, state, *write(t, tokens, logps, token, logp), cache

  logits = jnp.repeat(logits, group_size, axis=0)
  first, logp, ended, state = draw(0, logits, rule.start(rows), jnp.zeros(rows, bool))
  tokens = jnp.full((rows, max_new_tokens), -1, jnp.int32)
  tokens, logps = write(0, tokens, jnp.zeros((rows, max_new_tokens)), first, logp)
  carry = (jnp.int32(1), first, ended, state, tokens, logps, cache)
  for end in ends:
    if end > ends[0]:
      carry = (*carry[:-1], caches.grow(carry[-1], _slots(end)))
    carry = jax.lax.while_loop(functools.partial(unfinished, end), step, carry)
  _, _, ended, _, tokens, logps, _ = carry
  return tokens, logps, ended


def _prefill(model, params, prompt, positions, group_size, max_new_tokens):
  """Next-word logits `[P, V]`, a cache for every completion, and the lengths at which it grows."""
  num_prompts, width = prompt.shape
  if model.features is None:  # whose cache is its own affair: of full length, and copied
    cache = model.init_cache(num_prompts, width + max_new_tokens - 1)
    logits, cache = model.apply(params, prompt, positions, cache)
    cache = jax.tree.map(lambda x: jnp.repeat(x, group_size, axis=0) if x.ndim else x, cache)
    return logits[:, -1], cache, [max_new_tokens]
  x, cache = model.features(params, prompt, positions, model.init_cache(num_prompts, width))
  ends = _buckets(max_new_tokens)
  return model.unembed(params, x[:, -1]), caches.fork(cache, group_size, _slots(ends[0])), ends


def _buckets(length):
  """Numbers of tokens at which the cache is enlarged, the last of them `length`.

  A step costs as much as the cache is long, live or not. Every size is a loop to compile.
  """
  ends = [length]
  while len(ends) < _MOST_BUCKETS and ends[0] >= 2 * _LEAST_BUCKET:
    ends.insert(0, -(-ends[0] // 2))
  return ends


def _slots(length):
  """Cache slots for all of `length` tokens but the last, a multiple of 32: odd sizes are slow."""
  return max(1, -(-(length - 1) // 32)) * 32
