"""Losses that tell right answers from wrong ones: scores of a group's members to one loss a group.

`scores`, `right` and `wrong` are `[..., G]`, the last axis is the group, and the result is `[...]`;
`right` and `wrong` are 1 on the members of either side, and who is in neither is not read. A group
without one of the two sides has loss and gradient 0.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats


def disco_b(scores: jax.Array, right: jax.Array, wrong: jax.Array) -> jax.Array:
  """Mean score of the wrong answers less that of the right ones.

  Source: arXiv 2505.12366, DisCO-b.

  >>> disco_b(jnp.array([[3.0, 1.0, 2.0]]), jnp.array([[1, 0, 0]]), jnp.array([[0, 1, 1]]))
  Array([-1.5], dtype=float32)
  """
  right, wrong = _sides(scores, right, wrong)
  gap = stats.mean(scores, wrong, axis=-1) - stats.mean(scores, right, axis=-1)
  return jnp.where(_both(right, wrong), gap, 0)


def disco(scores: jax.Array, right: jax.Array, wrong: jax.Array, *, tau: float = 10.0) -> jax.Array:
  """`disco_b` with the hardest wrong answers in front: `tau log mean exp(scores / tau)` of them.

  `tau` towards 0 leaves the one wrong answer with the highest score, without bound it is `disco_b`.
  The gradient in a wrong answer's score is its softmax over the wrong ones.

  Source: arXiv 2505.12366. The authors' core_algos.py has this gradient, but the value of its loss
  is always about 1.
  """
  right, wrong = _sides(scores, right, wrong)
  gap = _hardest(scores, wrong, tau) - stats.mean(scores, right, axis=-1)
  return jnp.where(_both(right, wrong), gap, 0)


def drpo(
  scores: jax.Array,
  right: jax.Array,
  wrong: jax.Array,
  lengths: jax.Array,
  *,
  max_length: float,
  lam: float = 0.1,
  tau: float = 10.0,
) -> jax.Array:
  """`disco` with right answers weighted by how short they are (`length_weights`).

  Args:
    scores: `[..., G]`.
    right: `[..., G]`.
    wrong: `[..., G]`.
    lengths: `[..., G]`, in tokens.
    max_length: the longest completion, in tokens.
    lam: how close the weights stay to equal ones; without bound the loss is `disco`.
    tau: as in `disco`.

  Source: arXiv 2510.04474; the authors' compute_policy_loss_drpo.
  """
  weights = length_weights(lengths, right, max_length=max_length, lam=lam)
  right, wrong = _sides(scores, right, wrong)
  chosen = jnp.sum(weights * jnp.where(right, stats.as_float(scores), 0), axis=-1)
  return jnp.where(_both(right, wrong), _hardest(scores, wrong, tau) - chosen, 0)


def length_weights(
  lengths: jax.Array, right: jax.Array, *, max_length: float, lam: float = 0.1
) -> jax.Array:
  """Weights of the right answers of a group, `exp((1 - length / max_length) / lam)` over their sum.

  Args:
    lengths: `[..., G]`, in tokens.
    right: `[..., G]`, 1 on right answers.
    max_length: the longest completion, in tokens; the authors' code has the padded width.
    lam: strength of the tie to equal weights.
  Returns:
    `[..., G]`, 0 where not right; 1 for the only right answer, whatever its length.

  Source: arXiv 2510.04474.

  >>> length_weights(jnp.array([[50, 50, 99]]), jnp.array([[1, 1, 0]]), max_length=100)
  Array([[0.5, 0.5, 0. ]], dtype=float32)
  """
  chex.assert_equal_shape([lengths, right])
  right = jnp.asarray(right) > 0
  brevity = (1 - stats.as_float(lengths) / max_length) / lam
  # Less the largest, as a softmax is: exp(1 / lam) is soon beyond float32.
  most = jnp.max(brevity, axis=-1, keepdims=True, initial=-jnp.inf, where=right)
  grown = jnp.where(right, jnp.exp(jnp.where(right, brevity - most, 0)), 0)
  return grown / jnp.maximum(jnp.sum(grown, axis=-1, keepdims=True), 1)


def _hardest(scores, wrong, tau):
  """`tau log mean exp(scores / tau)` over the wrong answers; finite where there are none."""
  safe = jnp.where(wrong, stats.as_float(scores) / tau, -1e30)
  count = jnp.maximum(jnp.sum(wrong, axis=-1), 1).astype(safe.dtype)
  return tau * (jax.nn.logsumexp(safe, axis=-1) - jnp.log(count))


def _sides(scores, right, wrong):
  chex.assert_shape(scores, (..., None, None))
  chex.assert_equal_shape([scores, right, wrong])
  return jnp.asarray(right) > 0, jnp.asarray(wrong) > 0


def _both(right, wrong):
  return jnp.any(right, axis=-1) & jnp.any(wrong, axis=-1)
