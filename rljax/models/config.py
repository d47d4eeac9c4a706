"""What a decoder is: its sizes, and in what it differs from a plain Llama."""

from __future__ import annotations

import dataclasses

from rljax.models.rope import Scaling

_CHOICES = {'activation': ('silu', 'gelu_tanh'), 'remat': ('none', 'dots', 'full')}


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
  """Sizes and features of a decoder; the defaults are a Llama without biases.

  Attributes:
    vocab_size: V.
    dim: width of the residual stream, D.
    num_layers: layers.
    num_heads: query heads.
    num_kv_heads: key-value heads; divides num_heads.
    head_dim: width of a head; even.
    ff_dim: hidden width of the feed-forward block.
    rope_theta: base of the rotary frequencies.
    rope_scaling: how they are stretched, a record of `rljax.models.rope`; None: not at all.
    norm_eps: added to the mean square in RMSNorm.
    tied: whether the head is the embedding.
    dtype: type of activations; softmax, norms and logits are always float32. Parameters keep the
      type that they are given in.
    remat: what the backward pass computes anew instead of keeping it: 'none'; 'dots', all but the
      results of products with weights; 'full', all but the input of each layer.
    qkv_bias: biases on the projections to queries, keys and values.
    out_bias: a bias on the attention's output projection.
    ff_bias: biases on the three projections of the feed-forward block.
    qk_norm: RMSNorm over each head's query and key, before the rotation.
    post_norms: further RMSNorms on what the attention and the feed-forward block add to the stream.
    centered_norms: the weights of every RMSNorm are stored less 1 (Gemma).
    activation: of the gate; 'silu' or 'gelu_tanh'.
    windows: for each layer, how many tokens a query sees, itself included; 0: all before it. Empty:
      0 for every layer.
    local_rope_theta: base of the rotary frequencies, never stretched, of layers with a window;
      None: those layers rotate as the others do.
    query_scale: of the products of queries and keys; None: `head_dim ** -0.5`.
    embedding_scale: what embeddings are multiplied by.
    attention_softcap: c in `c tanh(x / c)`, which bounds the attention's logits; None: no bound.
    logit_softcap: the same for the model's logits.
  """

  vocab_size: int
  dim: int
  num_layers: int
  num_heads: int
  num_kv_heads: int
  head_dim: int
  ff_dim: int
  rope_theta: float = 10_000.0
  norm_eps: float = 1e-6
  tied: bool = True
  dtype: str = 'float32'
  remat: str = 'none'
  rope_scaling: Scaling | None = None
  qkv_bias: bool = False
  out_bias: bool = False
  ff_bias: bool = False
  qk_norm: bool = False
  post_norms: bool = False
  centered_norms: bool = False
  activation: str = 'silu'
  windows: tuple[int, ...] = ()
  local_rope_theta: float | None = None
  query_scale: float | None = None
  embedding_scale: float = 1.0
  attention_softcap: float | None = None
  logit_softcap: float | None = None

  def __post_init__(self):
    for name in ('vocab_size', 'dim', 'num_layers', 'num_heads', 'num_kv_heads', 'ff_dim'):
      if getattr(self, name) < 1:
        raise ValueError(f'{name} is {getattr(self, name)}; it must be at least 1.')
    if self.num_heads % self.num_kv_heads:
      raise ValueError(
        f'num_heads ({self.num_heads}) must be a multiple of num_kv_heads ({self.num_kv_heads}).'
      )
    if self.head_dim % 2 or self.head_dim < 2:
      raise ValueError(f'head_dim is {self.head_dim}; rotary embedding needs an even number.')
    for name, choices in _CHOICES.items():
      if getattr(self, name) not in choices:
        raise ValueError(f'{name} is {getattr(self, name)!r}; it must be one of {choices}.')
    for name in ('local_rope_theta', 'query_scale', 'attention_softcap', 'logit_softcap'):
      if getattr(self, name) is not None and getattr(self, name) <= 0:
        raise ValueError(f'{name} is {getattr(self, name)}; it must be positive, or None.')
    if not isinstance(self.rope_scaling, Scaling | None):
      raise ValueError(
        f'rope_scaling is {self.rope_scaling!r}; it is Linear, Llama3 or Yarn of '
        'rljax.models.rope, or None.'
      )
    if self.windows and len(self.windows) != self.num_layers:
      raise ValueError(
        f'windows has {len(self.windows)} entries; it needs one for each of the '
        f'{self.num_layers} layers.'
      )
    if any(window < 0 for window in self.windows):
      raise ValueError(f'windows is {self.windows}; an entry is a number of tokens, or 0 for all.')
    if self.local_rope_theta and not any(self.windows):
      raise ValueError(
        f'local_rope_theta is {self.local_rope_theta}, but no layer has a window to use it in; '
        'leave it out, or set windows.'
      )
