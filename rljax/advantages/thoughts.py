"""Credit by thought: consecutive steps that a judge labels alike."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from rljax import stats
from rljax.advantages.segments import to_tokens


def tp_grpo(
  outcome: jax.Array,
  correct: jax.Array,
  accuracy: jax.Array,
  labels: jax.Array,
  steps: jax.Array,
  step_id: jax.Array,
  *,
  alpha: float = 1.0,
) -> jax.Array:
  """Outcome advantage, less a penalty on the steps of thoughts that the judge calls wrong.

  A token's advantage is the sum of the rewards of its thought and of all later ones. In a right
  solution a right thought earns `alpha * accuracy` and a wrong one loses it; in a wrong solution a
  thought that matches the wrong answer earns `outcome` and any other loses it; the last thought has
  the outcome alone. Labels alternate from thought to thought, so the sums telescope: this is their
  closed form.

  Args:
    outcome: `[...]`, group-standardised outcome reward, at most 0 for wrong solutions.
    correct: `[...]`, above 0 for right solutions.
    accuracy: `[...]`, share of right solutions in the group.
    labels: `[..., S]`, above 0 on steps that are right, or that match the wrong answer given. The
      last step holds the answer and counts as labelled 1 whatever stands there.
    steps: `[..., S]`, 1 on real steps; they stand first.
    step_id: int `[..., T]`; tokens after the last step belong to it.
    alpha: price of a wrong thought in a right solution.
  Returns:
    `[..., T]`. Right solutions: `outcome`, and `outcome - alpha * accuracy` on wrong steps. Wrong
    ones: `outcome` on matching steps, else 0. `outcome` throughout where there are no steps.

  Source: arXiv 2507.23317; a reconstruction from a summary, consistent with the two propositions of
  its later version. The paper's alpha was not seen; 1 is ours.

  >>> ids, steps = jnp.array([[0, 1, 2]]), jnp.ones((1, 3))
  >>> tp_grpo(*(jnp.array([x]) for x in (0.5, 1.0, 0.75)), jnp.array([[1, 0, 1]]), steps, ids)
  Array([[ 0.5 , -0.25,  0.5 ]], dtype=float32)
  """
  chex.assert_equal_shape([labels, steps])
  chex.assert_equal_shape([outcome, correct, accuracy])
  outcome = stats.as_float(outcome)
  real = stats.is_real(labels, steps)
  position = jax.lax.broadcasted_iota(jnp.int32, labels.shape, labels.ndim - 1)
  last = jnp.sum(real, axis=-1, keepdims=True) - 1
  wrong = (real & ~(labels > 0) & (position != last)).astype(outcome.dtype)
  price = jnp.where(correct > 0, alpha * accuracy, outcome)
  return outcome[..., None] - to_tokens(wrong, step_id, real) * price[..., None]
