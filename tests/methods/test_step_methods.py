"""Loss and gradient of the methods by step and segment against loops in float64."""

import cases_steps
import jax.numpy as jnp
import numpy as np
import pytest
from harness import as_batch, assert_parity, problem

from rljax import methods


@pytest.mark.parametrize('name', cases_steps.CASES)
def test_loss_and_gradient_equal_loops(name):
  assert_parity(name)


@pytest.mark.parametrize(
  ('method', 'name'),
  [
    (methods.gigpo(), 'step_rewards'),
    (methods.hgpo(), 'trajectory'),
    (methods.spo_chain(), 'values_at_cuts'),
    (methods.spo_tree(), 'parent_value'),
    (methods.spo_tree_scaled(), 'parent_deviation'),
    (methods.spae(), 'potentials'),
    (methods.tp_grpo(), 'labels'),
    (methods.adhint(), 'hinted'),
    (methods.vspo(), 'copies'),
  ],
)
def test_what_a_rollout_left_out_is_said_by_name(method, name):
  p = problem(0, [4, 4])
  every = [f(p) for f in (cases_steps.agent, cases_steps.chain, cases_steps.edges)]
  extras = {k: jnp.asarray(v) for found in every for k, v in found.items() if k != name}
  _, batch = as_batch(p, 'rows')
  with pytest.raises(ValueError, match=rf"batch\.extras\['{name}'\]"):
    method.prepare((), batch.replace(extras=batch.extras | extras))


def test_spo_needs_the_probabilities_of_the_tokens():
  _, batch = as_batch(problem(0, [4, 4]), 'rows', extras=cases_steps.chain)
  with pytest.raises(ValueError, match='behavior_logp'):
    methods.spo_chain().prepare((), batch.replace(old_logp=None, behavior_logp=None))


def test_edges_without_a_rise_are_left_out_of_the_count():
  p = problem(1, [4, 4], keep=True)
  p['rewards'] = np.array([0.0, 0.5, 1.0, 0.3, 0.0, 0.25, 0.0, 1.0])
  _, batch = as_batch(p, 'rows', extras=cases_steps.edges)
  _, prepared = methods.spo_tree().prepare((), batch)
  rises = p['rewards'] - cases_steps.edges(p)['parent_value']
  np.testing.assert_array_equal(prepared.keep, p['keep'] * (rises != 0))
  assert (rises == 0).sum() == 4


def test_adhint_asks_for_the_entropy_of_the_policy_before_the_update():
  assert methods.adhint().reads == ('entropy',)
