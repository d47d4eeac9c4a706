"""What a policy says of a batch: log-probabilities and entropies of its completions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rljax.models.decoder import Model, token_positions
from rljax.types import Batch, Scores


def make_score(model: Model, *, temperature: float = 1.0) -> Callable[[Any, Batch], Scores]:
  """A scorer `(params, batch) -> Scores` for both layouts of a batch.

  Args:
    model: the model.
    temperature: the sampler's; log-probabilities and entropies are of the distribution drawn from.

  Returns:
    A function whose `logp` and `entropy` are float32 `[*N, T]` and 0 where there is no token.
    Entropy is that of the distribution from which the token at the same place was drawn, in nats.

  Raises:
    ValueError: if `temperature` is not positive.
  """
  if temperature <= 0:
    raise ValueError(f'temperature is {temperature}; it must be positive.')

  def score(params, batch):
    shape = batch.completion.shape
    width = batch.prompt.shape[-1]
    prompt = jnp.broadcast_to(batch.prompt, (*shape[:-1], width)).reshape(-1, width)
    completion = batch.completion.reshape(-1, shape[-1])
    tokens = jnp.concatenate([prompt, completion], axis=-1)[:, :-1]
    logits, _ = model.apply(params, tokens, token_positions(tokens), None)
    logits = logits[:, width - 1 :].astype(jnp.float32) / temperature
    logp = jax.nn.log_softmax(logits, axis=-1)
    taken = jnp.take_along_axis(logp, jnp.maximum(completion, 0)[..., None], axis=-1)[..., 0]
    entropy = -jnp.sum(jnp.exp(logp) * logp, axis=-1)
    real = completion >= 0
    return Scores(
      logp=jnp.where(real, taken, 0.0).reshape(shape),
      entropy=jnp.where(real, entropy, 0.0).reshape(shape),
    )

  return score
