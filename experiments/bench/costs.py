"""Arithmetic and memory traffic that a workload cannot do without, from its sizes alone.

Products of matrices only; a multiplication with its addition counts two. Padding, repeated prompts
and rematerialisation are not in these numbers, so avoiding or adding them moves the rate that is
printed.
"""

from __future__ import annotations

from typing import Any

_BYTES = {'float32': 4, 'bfloat16': 2, 'float16': 2}


def sampler(w: Any) -> dict[str, float]:
  """Prompts once each, then one step a token for all rows; every step reads weights and cache."""
  rows, prompt, new = w.prompts * w.group_size, w.prompt_length, w.max_new_tokens
  flop = w.prompts * forward(w.model, prompt, 1)
  flop += rows * (forward(w.model, prompt + new - 1, new - 1) - forward(w.model, prompt, 0))
  m, size = w.model, _BYTES[w.model.dtype]
  cache = 2 * m.num_layers * m.num_kv_heads * m.head_dim * (prompt + new / 2) * rows
  return {'flop': flop, 'bytes': (new - 1) * size * (parameters(m) + cache)}


def update(w: Any) -> dict[str, float]:
  """Forward and backward over prompts and completions; the head on completions alone."""
  rows, length = w.prompts * w.group_size, w.prompt_length + w.max_new_tokens
  return {'flop': 3 * rows * forward(w.model, length, w.max_new_tokens)}


def grpo_step(w: Any) -> dict[str, float]:
  """Sampling, the reference's scores if there is a penalty, and the update."""
  scored = update(w)['flop'] / 3 if w.beta else 0.0
  return {'flop': sampler(w)['flop'] + scored + update(w)['flop']}


def sft(w: Any) -> dict[str, float]:
  """Forward and backward, every token a target."""
  return {'flop': 3 * w.sft_rows * forward(w.model, w.sft_length, w.sft_length)}


def dpo(w: Any) -> dict[str, float]:
  """Forward and backward over both completions of a pair, and the reference's forward."""
  length = w.prompt_length + w.max_new_tokens
  return {'flop': 4 * 2 * w.pairs * forward(w.model, length, w.max_new_tokens)}


def forward(model: Any, length: int, scored: int) -> float:
  """Operations of one row of `length` tokens, `scored` of them through the head."""
  attention = length**2 * model.num_heads * model.head_dim  # both products, half of them masked
  layers = model.num_layers * (length * _layer(model) + attention)
  return 2.0 * (layers + scored * model.dim * model.vocab_size)


def parameters(model: Any) -> int:
  """Weights of the matrices, the embedding once if it is the head too."""
  words = model.vocab_size * model.dim * (1 if model.tied else 2)
  return model.num_layers * _layer(model) + words


def _layer(model):
  attention = model.dim * model.head_dim * 2 * (model.num_heads + model.num_kv_heads)
  return attention + 3 * model.dim * model.ff_dim
