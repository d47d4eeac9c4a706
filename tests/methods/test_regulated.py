"""Loss and gradient of the methods of `cases_regulated` against loops, and what is theirs alone."""

import functools

import cases_regulated
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import as_batch, as_scores, assert_parity, loss_and_gradient, loss_of_case, problem

from rljax import methods, token_weights


@pytest.mark.parametrize('name', cases_regulated.CASES)
def test_loss_and_gradient_equal_loops(name):
  assert_parity(name)


def start(name, seed=0):
  case, p = cases_regulated.CASES[name], problem(seed, [4, 4, 4], keep=True)
  _, batch = as_batch(p, 'groups', extras=case.extras)
  return case.method, as_scores(p, 'groups', case.scores), batch


READS = {
  'rover': 'old_mean_logp',
  'grao': 'reference',
  'hapo': 'old_entropy',
  'd3s': 'old_entropy',
  'lp_reg': 'old_proxy_logp',
  'siren': 'old_nucleus_entropy',
}


@pytest.mark.parametrize('name', READS)
def test_what_a_method_reads_is_named_where_it_is_missing(name):
  method, scores, batch = start(name)
  without = {k: v for k, v in batch.extras.items() if k != READS[name]}
  with pytest.raises(ValueError, match=READS[name]):
    loss_and_gradient(method, scores, batch.replace(extras=without))


@pytest.mark.parametrize(
  'name', [n for n, c in cases_regulated.CASES.items() if c.method.statistics]
)
def test_statistics_are_functions_of_logits_and_what_is_read_before_is_one_of_them(name):
  method = cases_regulated.CASES[name].method
  for fn in method.statistics.values():
    assert fn(jnp.zeros((3, 5)), jnp.array([0, 1, -1])).shape == (3,)
  assert set(method.reads) <= set(method.statistics)


@pytest.mark.parametrize('name', ['rover', 'siren', 'lp_reg_paper'])
def test_scores_without_the_statistic_say_so(name):
  method, scores, batch = start(name)
  with pytest.raises(ValueError, match='statistics'):
    loss_and_gradient(method, scores.replace(extras={}), batch)


@pytest.mark.parametrize('name', cases_regulated.CASES)
@pytest.mark.parametrize('garbage', [np.nan, np.inf])
def test_garbage_in_the_extras_does_not_leak(name, garbage):
  _, scores, batch = start(name)
  spoilt = {
    k: jnp.where(batch.mask == 0, garbage, v) if v.shape == batch.mask.shape else v
    for k, v in batch.extras.items()
  }
  clean, dirty = (loss_of_case(name, scores, b) for b in (batch, batch.replace(extras=spoilt)))
  jax.tree.map(np.testing.assert_array_equal, clean, dirty)


def test_the_penalty_of_siren_has_the_gradient_of_its_square():
  p = problem(0, [4, 4, 4], keep=True)
  x = cases_regulated.nucleus(p)['nucleus_entropy']
  w = cases_regulated.peak_weights(p, x, 0.8)

  def square(x):
    return 0.5 * ((cases_regulated.peak_weights(p, x, 0.8) * x).sum() - 0.2) ** 2

  slope = cases_regulated.slow_siren(p, coef=0.5, anchor=0.2).gradients['nucleus_entropy']
  for i, t in np.argwhere(w > 0):
    step = np.zeros(w.shape)
    step[i, t] = 1e-6
    assert (square(x + step) - square(x - step)) / 2e-6 == pytest.approx(slope[i, t], rel=1e-5)


def test_the_penalty_of_chi2_has_the_gradient_of_its_root():
  p = problem(0, [4, 4, 4], keep=True, extreme=False)
  zero = {'rewards': np.zeros(12), 'correct': np.zeros(12)}  # nothing but the penalty
  slope = cases_regulated.slow_chi2({**p, **zero}, coef=0.1).gradients['logp']
  for i, t in cases_regulated.kept_tokens(p)[:8]:
    ends = []
    for sign in (1, -1):
      logp = p['logp'].copy()
      logp[i, t] += sign * 1e-6
      ends.append(cases_regulated.slow_chi2({**p, **zero, 'logp': logp}, coef=0.1).loss)
    assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(slope[i, t], rel=1e-5, abs=1e-9)


def test_a_policy_at_its_reference_pays_the_floor_of_chi2_without_gradient():
  _, scores, batch = start('chi2')
  batch = batch.replace(ref_logp=scores.logp)
  _, plain = loss_of_case('grpo', scores, batch)
  (_, terms), gradient = loss_of_case('chi2', scores, batch)
  assert terms['chi2'] == pytest.approx(0.01)
  np.testing.assert_allclose(gradient.logp, plain.logp, rtol=1e-6)


def test_the_anchor_of_siren_is_the_entropy_of_the_first_batch_and_stays():
  method, scores, batch = start('siren')
  state = method.init()
  assert state['anchor'] < 0
  first, _ = method.prepare(state, batch)
  p = problem(0, [4, 4, 4], keep=True)
  old = cases_regulated.old_nucleus(p)['old_nucleus_entropy']
  expected = (cases_regulated.peak_weights(p, old, 0.8) * old).sum()
  np.testing.assert_allclose(first['anchor'], expected, rtol=1e-6)
  other = batch.replace(extras=batch.extras | {'old_nucleus_entropy': 0 * batch.mask})
  again, prepared = method.prepare(first, other)
  assert again['anchor'] == first['anchor']
  measured, _ = method.measure(again, scores, prepared)
  assert measured['anchor'] == first['anchor']
  nothing, _ = method.prepare(state, batch.replace(mask=0 * batch.mask))
  assert nothing['anchor'] < 0


def test_siren_and_chi2_join_methods_with_a_state_and_a_measure_of_their_own():
  anchored = methods.with_siren(methods.with_chi2(methods.grpo_guard(max_length=6)), anchor=0.2)
  _, scores, batch = start('siren')
  (loss, terms), gradient = jax.jit(functools.partial(loss_and_gradient, anchored))(scores, batch)
  assert {'policy', 'chi2', 'anchored_entropy'} <= set(terms)
  assert np.isfinite(loss) and np.abs(gradient.extras['nucleus_entropy']).max() > 0


def test_hapo_hands_the_statistics_of_its_batch_to_the_sampler():
  method, _, batch = start('hapo')
  state = method.init()
  np.testing.assert_array_equal(jnp.stack(state), 0.0)
  state, prepared = jax.jit(method.prepare)(state, batch)
  entropy = batch.extras['old_entropy']
  kept = prepared.mask * prepared.keep[..., None]
  expected = token_weights.entropy_statistics(entropy, kept)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), state, expected)
  assert state.std > 0
  open_ended = jnp.ones((1, 64))  # of higher entropy than any token of the batch
  found = method.draws(state, open_ended)
  np.testing.assert_allclose(found, open_ended / 1.05, rtol=1e-6)


def test_the_schedule_of_d3s_is_linear_in_batches_and_ends():
  method, _, batch = start('d3s')
  batch = batch.replace(mask=jnp.ones_like(batch.mask), keep=None)
  rng = np.random.default_rng(0)
  batch = batch.replace(rewards=jnp.float32(rng.normal(size=batch.rewards.shape)))
  state, kept, shares = method.init(), [], []
  for _ in range(8):
    state, prepared = jax.jit(method.prepare)(state, batch)
    kept.append(int(prepared.keep.sum()))
    shares.append(float(prepared.extras['chosen_tokens'].sum()))
  assert kept == [7, 8, 8, 9, 9, 9, 9, 9]  # ceil(7 + 2 p), p = 0, 0.2, ...
  expected = [np.ceil(n * 6 * (0.55 + 0.35 * min(i, 5) / 5) - 1e-9) for i, n in enumerate(kept)]
  assert shares == expected
