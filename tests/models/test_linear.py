"""Products with weights and their gradients against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax.models.linear import project

SHAPES = [  # of the activations, of the weight, contracted axes: wide, tall, and over two axes
  ((2, 5, 4), (4, 3, 6), 1),
  ((2, 5, 12), (12, 3), 1),
  ((2, 5, 3, 4), (3, 4, 5), 2),
]


@pytest.mark.parametrize('x_shape, w_shape, axes', SHAPES)
def test_value_and_gradients_equal_float64_products(x_shape, w_shape, axes):
  rng = np.random.default_rng(0)
  x, w = rng.normal(size=x_shape), rng.normal(size=w_shape)
  inner = int(np.prod(w_shape[:axes]))
  flat_x, flat_w = x.reshape(-1, inner), w.reshape(inner, -1)
  out, vjp = jax.vjp(lambda x, w: project(x, w, axes), jnp.float32(x), jnp.float32(w))
  np.testing.assert_allclose(out.reshape(-1, flat_w.shape[1]), flat_x @ flat_w, atol=1e-5)
  grad = rng.normal(size=out.shape)
  flat_grad = grad.reshape(-1, flat_w.shape[1])
  dx, dw = vjp(jnp.float32(grad))
  assert dx.shape == x_shape and dw.shape == w_shape
  np.testing.assert_allclose(dx.reshape(-1, inner), flat_grad @ flat_w.T, atol=1e-5)
  np.testing.assert_allclose(dw.reshape(inner, -1), flat_x.T @ flat_grad, atol=1e-5)


def test_float32_weights_under_bfloat16_activations_get_unrounded_gradients():
  x = jnp.full((3000, 1), 1.0, jnp.bfloat16)
  w = jnp.ones((1, 2), jnp.float32)
  out, vjp = jax.vjp(project, x, w)
  assert out.dtype == jnp.bfloat16
  dx, dw = vjp(jnp.full_like(out, 1.0))
  assert dx.dtype == jnp.bfloat16 and dw.dtype == jnp.float32
  np.testing.assert_array_equal(dw, 3000.0)  # bfloat16 has 2992 and 3008
