"""Processors: what changes the logits, or ends a completion, by what the completion holds so far.

A processor is written for one completion; the sampler maps it over rows. It acts before the warps.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

State = Any


class Processor(NamedTuple):
  """Functions of one completion and its state, a pytree of arrays.

  Attributes:
    init: `() -> state` before the first token.
    update: `(state, token) -> state` after each.
    logits: `(state, logits [V]) -> logits [V]`.
    done: `state -> bool`: was that token the last?
  """

  init: Callable[[], State]
  update: Callable[[State, jax.Array], State]
  logits: Callable[[State, jax.Array], jax.Array] = lambda state, logits: logits
  done: Callable[[State], jax.Array] = lambda state: jnp.zeros((), bool)


def join(*processors: Processor) -> Processor:
  """The processors from left to right; a completion ends with the first that says so."""

  def init():
    return tuple(p.init() for p in processors)

  def update(states, token):
    return tuple(p.update(s, token) for p, s in zip(processors, states, strict=True))

  def logits(states, x):
    for processor, state in zip(processors, states, strict=True):
      x = processor.logits(state, x)
    return x

  def done(states):
    ends = jnp.zeros((), bool)
    for processor, state in zip(processors, states, strict=True):
      ends |= processor.done(state)
    return ends

  return Processor(init, update, logits, done)


def given(state: State, logits: Callable[[State, jax.Array], jax.Array]) -> Processor:
  """A processor of one state that no token changes, such as a method's and its `Method.draws`.

  `logits` is `(state, logits [V]) -> logits [V]`. The state may be traced, so that one compiled
  sampler serves every value of it. What is drawn has the log-probability of the changed
  distribution, of which a scorer knows nothing.
  """
  return Processor(init=lambda: state, update=lambda state, token: state, logits=logits)


def min_new_tokens(count: int, eos: int | Sequence[int]) -> Processor:
  """Draws no end token before `count` other tokens; raises ValueError for a negative count."""
  if count < 0:
    raise ValueError(f'min_new_tokens is {count}; it must be at least 0.')
  stops = np.atleast_1d(np.asarray(eos, np.int32))

  def logits(drawn, x):
    return jnp.where(drawn < count, x.at[stops].set(-jnp.inf), x)

  return Processor(lambda: jnp.int32(0), lambda drawn, token: drawn + 1, logits)


def repetition_penalty(value: float, vocab_size: int) -> Processor:
  """Divides the positive logits of words drawn before by `value` and multiplies the others.

  As CTRL has it (arXiv 1909.05858), over the completion alone. Raises ValueError unless positive.
  """
  if value <= 0:
    raise ValueError(f'repetition_penalty is {value}; it must be positive.')

  def logits(seen, x):
    return jnp.where(seen, jnp.where(x > 0, x / value, x * value), x)

  return Processor(
    lambda: jnp.zeros(vocab_size, bool), lambda seen, token: seen.at[token].set(True), logits
  )


def count_penalty(presence: float, frequency: float, vocab_size: int) -> Processor:
  """Takes `presence + frequency * count` off the logit of a word drawn `count > 0` times."""

  def logits(counts, x):
    return x - presence * (counts > 0) - frequency * counts

  return Processor(
    lambda: jnp.zeros(vocab_size), lambda counts, token: counts.at[token].add(1.0), logits
  )


def stop_strings(words: Sequence[bytes], strings: Sequence[str]) -> Processor:
  """Ends a completion with the token that completes one of `strings` in its text.

  The text is followed byte by byte through an automaton (Aho and Corasick, 1975), of which a table
  `[states, V]` holds what a whole token does; a string may begin and end inside tokens.

  Args:
    words: the bytes of every token, `b''` for one that leaves no text; V of them.
    strings: what to stop at.

  Raises:
    ValueError: if there is no string, or an empty one.
  """
  patterns = [string.encode() for string in strings]
  if not patterns or not all(patterns):
    raise ValueError(f'stop strings are {list(strings)!r}; expected one or more, none empty.')
  table, found = _word_table(*_automaton(patterns), words)
  moves = jnp.asarray(table)
  return Processor(
    lambda: jnp.int32(0), lambda state, token: moves[state, token], done=lambda s: s == found
  )


def _automaton(patterns: Sequence[bytes]) -> tuple[np.ndarray, int]:
  """Moves int32 `[states, 256]` from state 0, and the state that says a pattern was found."""
  tree: list[dict[int, int]] = [{}]
  ends = set()
  for pattern in patterns:
    state = 0
    for byte in pattern:
      if byte not in tree[state]:
        tree[state][byte] = len(tree)
        tree.append({})
      state = tree[state][byte]
    ends.add(state)
  found = len(tree)
  moves = np.zeros((found + 1, 256), np.int32)
  # Breadth first: where a state has no child, it moves as its longest proper suffix does.
  suffix = [0] * found
  queue = collections.deque([0])
  while queue:
    state = queue.popleft()
    if state and suffix[state] in ends:
      ends.add(state)
    moves[state] = moves[suffix[state]] if state else 0
    for byte, child in tree[state].items():
      suffix[child] = int(moves[state, byte])
      moves[state, byte] = child
      queue.append(child)
  moves[np.isin(moves, list(ends))] = found
  moves[found] = found
  return moves, found


def _word_table(moves: np.ndarray, found: int, words: Sequence[bytes]) -> tuple[np.ndarray, int]:
  """Moves by whole words, int32 `[states, V]`."""
  lengths = np.asarray([len(word) for word in words])
  order = np.argsort(-lengths, kind='stable')
  table = np.tile(np.arange(len(moves), dtype=np.int32)[:, None], (1, len(words)))
  for i in range(lengths.max(initial=0)):
    longer = order[: np.sum(lengths > i)]  # of the words that have an i-th byte
    byte = np.asarray([words[w][i] for w in longer])
    table[:, longer] = moves[table[:, longer], byte[None, :]]
  return table, found
