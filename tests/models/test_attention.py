"""Attention over several sets of keys against one float64 softmax over all of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.models import attention

ROWS, LENGTH, HEADS, GROUPS, WIDTH = 6, 3, 4, 2, 5


def random_keys(rng, rows, slots):
  visible = rng.random((rows, ROWS // rows * LENGTH, slots)) < 0.6
  return attention.Keys(
    np.float32(rng.normal(size=(rows, GROUPS, slots, WIDTH))),
    np.float32(rng.normal(size=(rows, GROUPS, slots, WIDTH))),
    visible,
  )


def slow(query, sets, scale, cap):
  out = np.zeros(query.shape)
  for b, t, h in np.ndindex(ROWS, LENGTH, HEADS):
    logits, values = [], []
    for key, value, visible in sets:
      per = ROWS // len(key)
      row, group = b // per, h // (HEADS // GROUPS)
      for s in range(key.shape[2]):
        if visible[row, b % per * LENGTH + t, s]:
          logit = scale * np.dot(np.float64(query[b, t, h]), key[row, group, s])
          logits.append(logit if cap is None else cap * np.tanh(logit / cap))
          values.append(np.float64(value[row, group, s]))
    weights = np.exp(np.array(logits) - max(logits))
    out[b, t, h] = weights / weights.sum() @ np.array(values)
  return out


@pytest.mark.parametrize('cap', [None, 2.0])
@pytest.mark.parametrize('rows', [(6,), (6, 2), (1, 6, 3)])
def test_sets_of_keys_are_one_softmax(rows, cap):
  rng = np.random.default_rng(len(rows))
  query = np.float32(rng.normal(size=(ROWS, LENGTH, HEADS, WIDTH)) * 3)
  sets = [random_keys(rng, n, 4 + n) for n in rows]
  sets[0].visible[..., 0] = True  # everybody sees something
  found = attention.attend(query, *sets, scale=0.7, cap=cap)
  np.testing.assert_allclose(found, slow(query, sets, 0.7, cap), atol=1e-5)


def test_a_set_that_nobody_sees_changes_nothing_and_gets_no_gradient():
  rng = np.random.default_rng(0)
  query = np.float32(rng.normal(size=(ROWS, LENGTH, HEADS, WIDTH)))
  seen, unseen = random_keys(rng, 6, 4), random_keys(rng, 3, 4)
  seen.visible[..., 0] = True
  unseen = unseen._replace(visible=np.zeros_like(unseen.visible))

  def both(query, seen, unseen):
    return attention.attend(query, seen, unseen, scale=1.0)

  np.testing.assert_allclose(
    both(query, seen, unseen), attention.attend(query, seen, scale=1.0), atol=1e-6
  )
  grads = jax.grad(lambda value: jnp.sum(jnp.sin(both(query, seen, unseen._replace(value=value)))))(
    jnp.asarray(unseen.value)
  )
  np.testing.assert_array_equal(grads, 0.0)


def test_a_query_that_sees_nothing_is_finite_with_its_gradient():
  rng = np.random.default_rng(0)
  query = np.float32(rng.normal(size=(ROWS, LENGTH, HEADS, WIDTH)))
  sets = [random_keys(rng, n, 4) for n in (6, 2)]
  sets = [s._replace(visible=np.zeros_like(s.visible)) for s in sets]
  grad = jax.grad(lambda q: jnp.sum(attention.attend(q, *sets, scale=1.0) ** 2))(jnp.asarray(query))
  assert np.isfinite(grad).all()


def test_a_window_holds_so_many_positions():
  positions = np.array([[-1, 0, 1, 2, 3]])
  seen = np.asarray(attention.visible(positions, positions, 2))[0]
  assert [list(np.flatnonzero(row)) for row in seen[1:]] == [[1], [1, 2], [2, 3], [3, 4]]
