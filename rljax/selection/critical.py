"""CURE: where to branch off an answer, at a token of high entropy that means something."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def critical_words(
  words: Sequence[bytes], special: Collection[int] = (), *, characters: int = 2
) -> jax.Array:
  """Words at which a branch may begin: bool `[V]`.

  Args:
    words: the bytes of every token, b'' for one that leaves no text.
    special: tokens with a meaning of their own, such as the end token.
    characters: the authors' 2 leaves no token to a tokenizer of single characters.
  Returns:
    True where the text, without blanks around it, has so many characters or more.

  Source: get_critic_key_token_mask of the authors of arXiv 2508.11016.

  >>> critical_words([b' so', b' x ', b'<eos>', b'if'], special=[2])
  Array([ True, False, False,  True], dtype=bool)
  """
  texts = [word.decode(errors='replace').strip() for word in words]
  return jnp.array([len(text) >= characters and i not in special for i, text in enumerate(texts)])


def critical_tokens(entropy: jax.Array, allowed: jax.Array, *, top_k: int = 20) -> jax.Array:
  """The `top_k` allowed tokens with the highest entropy in each sequence: bool `[..., T]`.

  Args:
    entropy: `[..., T]` of the policy on its own answers.
    allowed: `[..., T]`, 1 on trained tokens that are among the `critical_words`. The first token of
      an answer is never chosen.
    top_k: how many; fewer where not as many are allowed. Of equal ones the first.

  Source: as `critical_words`.
  """
  chex.assert_equal_shape([entropy, allowed])
  place = jax.lax.broadcasted_iota(jnp.int32, entropy.shape, entropy.ndim - 1)
  usable = stats.is_real(entropy, allowed) & (place > 0)
  return usable & (stats.rank(entropy, usable) < top_k)


def branch_points(
  key: jax.Array, entropy: jax.Array, allowed: jax.Array, *, top_k: int = 20
) -> jax.Array:
  """Place of one of the `critical_tokens` of each sequence, drawn uniformly: int32 `[...]`.

  A branch is drawn anew from this place on: its prompt is the prompt and the tokens before it.

  Args:
    key: drawn from once.
    entropy: `[..., T]`.
    allowed: `[..., T]`.
    top_k: how many to draw from.
  Returns:
    `[...]`; 0, which is a new answer, where no token is allowed.

  Source: as `critical_words`.
  """
  critical = critical_tokens(entropy, allowed, top_k=top_k)
  nth = jnp.cumsum(critical, axis=-1)
  count = nth[..., -1]
  drawn = jax.random.randint(key, count.shape, 0, jnp.maximum(count, 1))
  return jnp.argmax(critical & (nth == drawn[..., None] + 1), axis=-1).astype(jnp.int32)
