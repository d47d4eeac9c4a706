"""What the benchmarks build from rljax, through its public functions alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rljax import aggregation, methods, models, sampling, training
from rljax.types import Batch, Method, Scores


def decoder(w: Any) -> models.Model:
  """The workload's model."""
  return models.decoder(models.DecoderConfig(**w.model))


def parameters(w: Any, model: models.Model) -> Any:
  """Fresh parameters in float32."""
  return jax.jit(lambda key: models.init(key, model.specs))(jax.random.key(w.seed))


def prompts(w: Any) -> jax.Array:
  """Random prompts, int32 `[P, 1, Tp]`."""
  rng = np.random.default_rng(w.seed)
  shape = (w.prompts, 1, w.prompt_length)
  return jnp.asarray(rng.integers(0, w.model.vocab_size, shape, np.int32))


def sampler(w: Any, model: models.Model) -> Callable[..., sampling.Samples]:
  """The jitted sampler `(params, prompt [P, Tp], key) -> Samples`, in the activations' type."""
  # Where all completions are of one length the end token is no word, and so never drawn.
  ragged = w.min_new_tokens < w.max_new_tokens
  eos = 0 if ragged else w.model.vocab_size
  processor = ending_uniformly(w.min_new_tokens, w.max_new_tokens, eos) if ragged else None

  def draw(params, prompt, key):
    return sampling.sample(
      model,
      jax.tree.map(lambda x: x.astype(w.model.dtype), params),
      prompt,
      key,
      group_size=w.group_size,
      max_new_tokens=w.max_new_tokens,
      eos=eos,
      warp=sampling.temperature(w.temperature),
      processor=processor,
      in_flight=w.in_flight or None,
    )

  return jax.jit(draw)


def ending_uniformly(least: int, most: int, eos: int) -> sampling.Processor:
  """Makes lengths of completions uniform in `least..most`, the end token included.

  The end token's probability is 1 over the number of lengths that are left.
  """

  def logits(drawn, x):
    length = drawn + 1  # of the completion, if it ended here
    others = x.at[eos].set(-jnp.inf)
    odds = jnp.where(length < least, -jnp.inf, -jnp.log(jnp.maximum(most - length, 1e-9)))
    return x.at[eos].set(jax.nn.logsumexp(others) + odds)

  return sampling.Processor(lambda: jnp.int32(0), lambda drawn, token: drawn + 1, logits)


def method(w: Any) -> Method:
  """GRPO, with the penalty if beta is not 0."""
  grpo = methods.grpo()
  if not w.beta:
    return grpo
  return methods.plus(grpo, kl=methods.kl_to_reference(aggregation.sequence_mean, w.beta))


def optimizer(w: Any):
  """AdamW as the peers have it, without clipping."""
  return training.optimizers.adamw(w.learning_rate, clip_norm=0.0)


def judged(w: Any, prompt: jax.Array, samples: sampling.Samples) -> Batch:
  """The batch of a rollout; a completion's reward is its share of even words."""
  completion = np.asarray(samples.completion)
  real = completion >= 0
  rewards = (real & (completion % 2 == 0)).sum(-1) / real.sum(-1)
  return Batch(
    prompt=prompt,
    completion=samples.completion,
    mask=jnp.asarray(real, jnp.float32),
    rewards=jnp.asarray(rewards, jnp.float32),
    truncated=samples.truncated,
    behavior_logp=samples.logp,
  )


def packed(w: Any, batch: Batch) -> Batch:
  """The batch with its completions side by side, if the workload says so."""
  return training.pack_completions(batch, w.bucket) if w.bucket else batch


def scorer(w: Any, model: models.Model, method: Method) -> Callable[..., Scores]:
  """`(params, batch) -> Scores` with all that a method reads; of a dict of batches, a dict."""
  one = training.make_score(
    model,
    temperature=w.temperature,
    statistics=method.statistics,
    features=method.features,
  )

  def score(params, batch):
    if isinstance(batch, dict):
      return {name: one(params, each) for name, each in batch.items()}
    return one(params, batch)

  return score


def preparation(w: Any, model: models.Model, method: Method) -> Callable[..., Batch]:
  """Jitted `(reference, batch) -> batch`: reference scores if they are read, then `prepare`."""
  score = scorer(w, model, method)

  def prepare(reference, batch):
    # Before the first update the policy is its own reference.
    if method.reads:
      batch = training.fill_reads(method.reads, score(reference, batch), batch)
    if w.beta:
      batch = batch.replace(ref_logp=score(reference, batch).logp)
    return method.prepare(method.init(), batch)[1]

  return jax.jit(prepare)


def train_step(w: Any, model: models.Model, method: Method):
  """Jitted `(state, batch) -> (state, metrics)`; the state is donated."""
  score = scorer(w, model, method)
  step = training.make_train_step(score, method, optimizer(w), w.microbatches)
  return jax.jit(step, donate_argnums=0)


def rollout(w: Any) -> Batch:
  """A batch as a rollout would leave it, of random tokens and uniform lengths."""
  rng = np.random.default_rng(w.seed)
  shape = (w.prompts, w.group_size, w.max_new_tokens)
  completion = rng.integers(0, w.model.vocab_size, shape, np.int32)
  if w.min_new_tokens < w.max_new_tokens:
    lengths = rng.integers(w.min_new_tokens, w.max_new_tokens + 1, shape[:-1])
    completion = np.where(np.arange(shape[-1]) < lengths[..., None], completion, -1)
  logp = jnp.full(shape, -np.log(w.model.vocab_size), jnp.float32)
  samples = sampling.Samples(jnp.asarray(completion), logp, jnp.ones(shape[:-1], jnp.float32))
  return judged(w, prompts(w), samples)
