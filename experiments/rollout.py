"""From problems to a judged batch: tokenise, sample on the devices, detokenise, verify."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.build import Parts
from rljax import data, sampling, training, verifiers
from rljax.types import Batch


class Rollout(NamedTuple):
  """A batch and what the host knows of it.

  Attributes:
    batch: `(P, G)` layout, with completions, mask, rewards, `truncated`, `behavior_logp` and
      `extras['correct']`.
    problems: P problems.
    texts: P lists of G completions.
    correct: float32 `[P, G]`.
    failed: share of completions on which the verifier failed.
    seconds: spent in sampling and in verifying.
  """

  batch: Batch
  problems: list[data.Problem]
  texts: list[list[str]]
  correct: np.ndarray
  failed: float
  seconds: dict[str, float]


def make_sampler(
  parts: Parts,
  *,
  group_size: int,
  max_new_tokens: int,
  warp: Callable[[jax.Array], jax.Array],
) -> Callable[..., sampling.Samples]:
  """A jitted sampler `(params, prompt [P, Tp], key, ids [P]) -> Samples` whose rows are sharded."""

  def draw(params, prompt, key, ids):
    return sampling.sample(
      parts.model,
      params,
      prompt,
      key,
      group_size=group_size,
      max_new_tokens=max_new_tokens,
      eos=parts.tokenizer.eos,
      warp=warp,
      ids=ids,
    )

  return jax.jit(draw, out_shardings=training.sharding.rows(parts.mesh))


def rollout(
  parts: Parts,
  sampler: Callable[..., sampling.Samples],
  params: Any,
  problems: Sequence[data.Problem],
  key: jax.Array,
  ids: np.ndarray | None = None,
) -> Rollout:
  """Completions of every problem, judged.

  Args:
    parts: task, tokenizer and mesh.
    sampler: from `make_sampler`.
    params: the policy.
    problems: P problems; P divides over the mesh's rows.
    key: PRNG key of this rollout alone.
    ids: int `[P]`, folded into the key; None numbers the problems.
  """
  start = time.perf_counter()
  prompt = encode_prompts(parts, problems)
  ids = np.arange(len(problems)) if ids is None else ids
  samples = sampler(params, prompt[:, 0], key, jnp.asarray(ids, jnp.int32))
  completion, truncated = np.asarray(samples.completion), np.asarray(samples.truncated)
  sampled = time.perf_counter()
  texts = [[parts.tokenizer.decode(ids) for ids in group] for group in completion]
  group_size = completion.shape[1]
  judged = verifiers.verify(
    parts.task,
    [problem for problem in problems for _ in range(group_size)],
    [text for group in texts for text in group],
    truncated.reshape(-1),
  )
  shape = truncated.shape
  put = lambda x: jax.device_put(x, training.sharding.rows(parts.mesh))  # noqa: E731
  batch = Batch(
    prompt=prompt,
    completion=samples.completion,
    mask=put((completion >= 0).astype(np.float32)),
    rewards=put(judged['score'].reshape(shape)),
    truncated=samples.truncated,
    behavior_logp=samples.logp,
    extras={'correct': put(judged['correct'].reshape(shape))},
  )
  return Rollout(
    batch=batch,
    problems=list(problems),
    texts=texts,
    correct=judged['correct'].reshape(shape),
    failed=float(judged['failed'].mean()),
    seconds={'sample': sampled - start, 'verify': time.perf_counter() - sampled},
  )


def encode_prompts(parts: Parts, problems: Sequence[data.Problem]) -> jax.Array:
  """Prompts int32 `[P, 1, Tp]` on the mesh, with the width of the task's longest prompt."""
  encoded = [parts.tokenizer.encode_prompt(problem.prompt) for problem in problems]
  return jax.device_put(
    data.pad_prompts(encoded, parts.prompt_width), training.sharding.rows(parts.mesh)
  )


def take(rollouts: Sequence[Rollout], chosen: np.ndarray) -> Rollout:
  """One rollout of chosen groups, by their numbers in the concatenation of several rollouts."""
  leaves = lambda *xs: np.concatenate([np.asarray(x) for x in xs])[chosen]  # noqa: E731
  sharding = rollouts[0].batch.completion.sharding
  batch = jax.tree.map(leaves, *[r.batch for r in rollouts])
  problems = [problem for r in rollouts for problem in r.problems]
  texts = [group for r in rollouts for group in r.texts]
  return Rollout(
    batch=jax.device_put(batch, sharding),
    problems=[problems[i] for i in chosen],
    texts=[texts[i] for i in chosen],
    correct=np.concatenate([r.correct for r in rollouts])[chosen],
    failed=float(np.mean([r.failed for r in rollouts])),
    seconds={k: sum(r.seconds[k] for r in rollouts) for k in rollouts[0].seconds},
  )


def mixed_groups(correct: np.ndarray) -> np.ndarray:
  """bool `[P]`: groups of `[P, G]` that are neither all right nor all wrong, or of one alone."""
  return (correct.max(-1) != correct.min(-1)) | (correct.shape[-1] == 1)
