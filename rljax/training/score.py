"""What a policy says of a batch: log-probabilities and entropies of its completions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from rljax.models.decoder import Model, token_positions
from rljax.training import head
from rljax.types import Batch, Scores


def make_score(
  model: Model,
  *,
  temperature: float = 1.0,
  statistics: Mapping[str, head.Statistic] | None = None,
  chunk: int = 0,
) -> Callable[[Any, Batch], Scores]:
  """A scorer `(params, batch) -> Scores` for both layouts of a batch.

  In the layout `(P, G)` a prompt is computed once for its G completions. The logits of all tokens
  never exist together; see `head.per_token`. What nobody reads is not computed under jit.

  Args:
    model: the model.
    temperature: the sampler's; log-probabilities and entropies are of the distribution drawn from.
    statistics: further numbers per token that a method reads, which become `Scores.extras`:
      `(logits [C, V], targets [C]) -> [C]` by name, from tempered logits.
    chunk: tokens whose logits exist at a time; 0: `head.chunk_size` of the vocabulary.

  Returns:
    A function whose `logp` and `entropy` are float32 `[*N, T]` and 0 where there is no token.
    Entropy is that of the distribution from which the token at the same place was drawn, in nats.

  Raises:
    ValueError: if `temperature` is not positive.
  """
  if temperature <= 0:
    raise ValueError(f'temperature is {temperature}; it must be positive.')
  wanted = {'logp': head.logp, 'entropy': head.entropy, **(statistics or {})}

  def unembed(params, x):
    logits = x if model.unembed is None else model.unembed(params, x)
    return logits.astype(jnp.float32) / temperature

  def per_token(params, x, targets):
    return head.per_token(unembed, params, x, targets, wanted, chunk=chunk)

  def score(params, batch):
    x = _shared(model, params, batch) if _can_share(model, batch) else _plain(model, params, batch)
    found = model.by_rows(per_token)(params, x, batch.completion)
    real = batch.completion >= 0
    found = {name: jnp.where(real, a, 0.0) for name, a in found.items()}
    return Scores(logp=found.pop('logp'), entropy=found.pop('entropy'), extras=found)

  return score


def _can_share(model, batch):
  return model.features is not None and batch.completion.ndim == 3 and batch.completion.shape[1] > 1


def _plain(model, params, batch):
  """Activations (or logits) from which each token of the completions follows, `[*N, T, D]`."""
  shape, width = batch.completion.shape, batch.prompt.shape[-1]
  prompt = jnp.broadcast_to(batch.prompt, (*shape[:-1], width)).reshape(-1, width)
  tokens = jnp.concatenate([prompt, batch.completion.reshape(-1, shape[-1])], axis=-1)[:, :-1]
  x, _ = (model.features or model.apply)(params, tokens, token_positions(tokens), None)
  return x[:, width - 1 :].reshape(*shape, -1)


def _shared(model, params, batch):
  """The same with every prompt computed once: rows of a prompt and its G completions."""
  prompts, copies, length = batch.completion.shape
  width = batch.prompt.shape[-1]
  prompt, rest = batch.prompt[:, 0], batch.completion[..., :-1]  # nothing follows the last token
  positions = token_positions(prompt)
  later = token_positions(rest)
  later = jnp.where(later >= 0, later + positions[:, -1:, None] + 1, -1)
  row = lambda first, then: jnp.concatenate([first, then.reshape(prompts, -1)], axis=-1)  # noqa: E731
  x, _ = model.features(
    params, row(prompt, rest), row(positions, later), None, fork=(width, copies)
  )
  last = jnp.broadcast_to(x[:, None, width - 1 : width], (prompts, copies, 1, x.shape[-1]))
  return jnp.concatenate([last, x[:, width:].reshape(prompts, copies, length - 1, -1)], axis=2)
