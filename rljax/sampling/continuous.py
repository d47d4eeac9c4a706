"""Continuous batching: a completion that ends makes room for the next one that waits.

Every row holds its prompt's keys and values, copied in when it is admitted, and a ring of slots for
its own. All rows write the same slot of the ring at a time, so a step is the same program as in a
batch that goes in step; what a slot held for an earlier completion is marked as empty.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rljax.models.cache import Cache
from rljax.models.decoder import Model, token_positions
from rljax.sampling.law import Law


class _Rows(NamedTuple):
  """The loop's state; W rows for N completions of T tokens.

  Attributes:
    clock: int32 `[]`, steps made.
    waiting: int32 `[]`, the next completion to admit.
    job: int32 `[W]`, the completion in each row; N: none.
    age: int32 `[W]`, its tokens so far.
    token: int32 `[W]`, the latest of them, or the last of the prompt.
    state: of the processor.
    cache: prompt and ring of each row.
    tokens: int32 `[N, T]`.
    logps: float32 `[N, T]`.
    ended: bool `[N]`.
  """

  clock: jax.Array
  waiting: jax.Array
  job: jax.Array
  age: jax.Array
  token: jax.Array
  state: Any
  cache: Cache
  tokens: jax.Array
  logps: jax.Array
  ended: jax.Array


def continuous(
  model: Model,
  params: Any,
  prompt: jax.Array,
  keys: jax.Array,
  rule: Law,
  limits: jax.Array | None,
  max_new_tokens: int,
  rows: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Tokens `[N, T]`, their log-probabilities and whether each completion ended `[N]`.

  Args:
    model: a model with `features`.
    params: its parameters.
    prompt: int `[P, Tp]`, left-padded with -1.
    keys: `[N]`, of completions in order of their prompts.
    rule: how a token is drawn.
    limits: int32 `[N]`, or None for T.
    max_new_tokens: T.
    rows: W.
  """
  total, width = len(keys), prompt.shape[1]
  group_size = total // len(prompt)
  positions = token_positions(prompt)
  _, prefix = model.features(params, prompt, positions, model.init_cache(len(prompt), width))
  params = model.unstack(params)
  # The last token of a prompt is given again, as the first of a row: that step draws the first
  # token, and is like any other.
  before = prefix.positions.at[:, -1].set(-1)
  ring = -(-(width + max_new_tokens) // 32) * 32 - width  # odd sizes are slow
  limits = jnp.full(total, max_new_tokens) if limits is None else limits

  def can_admit(rows):
    return (rows.waiting < total) & jnp.any(rows.job == total)

  def admit(rows):
    row, job = jnp.argmax(rows.job), rows.waiting
    which = job // group_size

    def copy(stored, given):  # [..., W, KV, S, dh] and [..., P, KV, Tp, dh]
      one = jax.lax.dynamic_slice_in_dim(given, which, 1, axis=-4)
      start = [0] * stored.ndim
      start[-4] = row
      return jax.lax.dynamic_update_slice(stored, one, start)

    seen = jnp.concatenate([before[which], jnp.full(ring, -1, jnp.int32)])
    return rows._replace(
      waiting=job + 1,
      job=rows.job.at[row].set(job),
      age=rows.age.at[row].set(0),
      token=rows.token.at[row].set(prompt[which, -1]),
      state=jax.tree.map(lambda x, new: x.at[row].set(new[0]), rows.state, rule.start(1)),
      cache=rows.cache.replace(
        keys=jax.tree.map(copy, rows.cache.keys, prefix.keys),
        values=jax.tree.map(copy, rows.cache.values, prefix.values),
        positions=rows.cache.positions.at[row].set(seen),
      ),
    )

  def unfinished(rows):
    return (rows.waiting < total) | jnp.any(rows.job < total)

  def step(rows):
    rows = jax.lax.while_loop(can_admit, admit, rows)
    live = rows.job < total
    job = jnp.minimum(rows.job, total - 1)
    position = jnp.where(live, positions[job // group_size, -1] + rows.age, -1)
    cache = rows.cache.replace(index=width + rows.clock % ring)
    logits, cache = model.apply(params, rows.token[:, None], position[:, None], cache)
    noise = jax.vmap(jax.random.fold_in)(keys[job], rows.age)
    token, logp, last, state = rule.draw(noise, logits[:, 0], rows.state)
    age = rows.age + 1
    leaves = last | (age >= limits[job])
    return _Rows(
      clock=rows.clock + 1,
      waiting=rows.waiting,
      job=jnp.where(leaves, total, rows.job),
      age=age,
      token=token,
      state=state,
      cache=cache,
      # An empty row's job lies outside, and nothing is written.
      tokens=rows.tokens.at[rows.job, rows.age].set(token, mode='drop'),
      logps=rows.logps.at[rows.job, rows.age].set(logp, mode='drop'),
      ended=rows.ended.at[rows.job].set(last, mode='drop'),
    )

  done = jax.lax.while_loop(
    unfinished,
    step,
    _Rows(
      clock=jnp.int32(0),
      waiting=jnp.int32(0),
      job=jnp.full(rows, total, jnp.int32),
      age=jnp.zeros(rows, jnp.int32),
      token=jnp.zeros(rows, jnp.int32),
      state=rule.start(rows),
      cache=model.init_cache(rows, width + ring),
      tokens=jnp.full((total, max_new_tokens), -1, jnp.int32),
      logps=jnp.zeros((total, max_new_tokens)),
      ended=jnp.zeros(total, bool),
    ),
  )
  return done.tokens, done.logps, done.ended
