"""Combinators: what they change in a method, and what they leave alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import aggregation, methods, training
from rljax.types import Batch, Method, Scores, Term

LOGP = jnp.float32(np.random.default_rng(0).uniform(-3, 0, (2, 3, 4)))


def batch(**changes):
  rewards = jnp.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
  return Batch(mask=jnp.ones((2, 3, 4)), rewards=rewards).replace(**changes)


def run(method, data, logp=LOGP):
  state, data = method.prepare(method.init(), data)
  scores = Scores(logp, entropy=-logp)
  return state, *training.total(method, scores, data, training.weigh(method, data)), data


def counting(name):
  """A method whose state counts `prepare` and `measure`, and whose measure sets its coefficient."""

  def prepare(state, data):
    return {**state, 'prepared': state['prepared'] + 1}, data

  def measure(state, scores, data):
    mean = jnp.mean(scores.logp)
    return {**state, 'measured': mean}, data.replace(constants={'mean': mean})

  term = Term(
    lambda scores, data: scores.logp, aggregation.token_mean, lambda data: data.constants['mean']
  )
  return Method(lambda: {'prepared': 0, 'measured': 0.0}, prepare, {name: term}, measure)


def test_plus_adds_terms_and_keeps_the_rest():
  bonus = methods.entropy_bonus(aggregation.token_mean, 0.5)
  base = methods.grpo()
  both = methods.plus(base, entropy=bonus)
  assert list(both.terms) == [*base.terms, 'entropy'] and 'entropy' not in base.terms
  _, loss, terms, _ = run(both, batch())
  _, alone, _, _ = run(base, batch())
  assert float(loss) == pytest.approx(float(alone + 0.5 * terms['entropy']), rel=1e-6)
  assert float(terms['entropy']) == pytest.approx(float(LOGP.mean()), rel=1e-6)


def test_plus_refuses_a_name_that_is_taken():
  bonus = methods.entropy_bonus(aggregation.token_mean, 0.5)
  with pytest.raises(ValueError, match=r"already has terms \['policy'\]"):
    methods.plus(methods.grpo(), policy=bonus, other=bonus)


def test_with_rewards_comes_before_the_method():
  method = methods.with_rewards(lambda b: 1 - b.rewards, methods.dr_grpo(max_length=4))
  _, _, _, prepared = run(method, batch())
  _, _, _, plain = run(methods.dr_grpo(max_length=4), batch())
  np.testing.assert_allclose(prepared.advantages, -plain.advantages, atol=1e-6)
  np.testing.assert_array_equal(prepared.rewards, 1 - plain.rewards)
  assert np.abs(plain.advantages).max() > 0.1


def test_with_rewards_nested_runs_from_the_outside_in():
  doubled = methods.with_rewards(lambda b: 2 * b.rewards, methods.reinforce())
  method = methods.with_rewards(lambda b: b.rewards + 1, doubled)
  _, _, _, prepared = run(method, batch())
  np.testing.assert_array_equal(prepared.advantages[..., 0], 2 * (batch().rewards + 1))


def test_with_keep_multiplies_what_is_kept_already():
  first = jnp.array([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
  second = jnp.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
  method = methods.with_keep(lambda b: second, methods.reinforce())
  _, _, _, alone = run(method, batch())
  np.testing.assert_array_equal(alone.keep, second)
  _, loss, _, both = run(method, batch(keep=first))
  np.testing.assert_array_equal(both.keep, first * second)
  # Sequences that are kept: (0, 0), (1, 1), (1, 2), with rewards 1, 1, 0.
  assert float(loss) == pytest.approx(-float(LOGP[0, 0].sum() + LOGP[1, 1].sum()) / 3, rel=1e-6)


def test_with_keep_wraps_the_state_of_its_method():
  method = methods.with_keep(lambda b: b.rewards, counting('x'))
  state, prepared = method.prepare(method.init(), batch())
  assert state['prepared'] == 1 and method.measure is not None
  np.testing.assert_array_equal(prepared.keep, batch().rewards)


def slow_importance(mask, old, behavior, cap):
  """Weights per token, their mean and the share at the cap over trained tokens, by loops."""
  found, total, capped, tokens = np.ones(mask.shape), 0.0, 0, 0
  for i in np.argwhere(mask > 0):
    at = tuple(i)
    found[at] = min(np.exp(np.float64(old[at]) - np.float64(behavior[at])), cap)
    total, capped, tokens = total + found[at], capped + (found[at] == cap), tokens + 1
  return found, total / tokens, capped / tokens


@pytest.mark.parametrize('cap', [1.1, 2.0])
@pytest.mark.parametrize('single', [False, True], ids=['old_logp', 'one update'])
@pytest.mark.parametrize('name', ['grpo', 'gspo', 'reinforce'])
def test_truncated_importance_multiplies_the_loss_of_every_token(name, single, cap):
  """The gradient of a token is that of the method without it times the weight, which has none."""
  rng = np.random.default_rng(1)
  old = LOGP + np.float32(0.1 * rng.normal(size=LOGP.shape))
  behavior = LOGP + np.float32(rng.normal(size=LOGP.shape))
  mask = jnp.float32(rng.random(LOGP.shape) < 0.7).at[0, 0].set(1.0)
  data = batch(mask=mask, old_logp=None if single else old, behavior_logp=behavior)
  data = data.replace(
    behavior_logp=jnp.where(mask > 0, behavior, jnp.nan),
    old_logp=None if single else jnp.where(mask > 0, old, jnp.nan),
  )
  proximal = LOGP if single else old
  expected, mean, capped = slow_importance(mask, proximal, behavior, cap)
  plain = getattr(methods, name)()
  method = methods.with_truncated_importance(plain, cap)

  def loss(method):
    return lambda logp: run(method, data, logp)[1]

  _, found, terms, _ = run(method, data)
  # Sequence ratios tie tokens together, so the loop multiplies values, not gradients.
  _, alone = plain.prepare(plain.init(), data)
  term = plain.terms['policy']
  values = np.float64(term.value(Scores(LOGP), alone)) * np.float64(term.weights(alone))
  values = np.where(np.asarray(mask) > 0, values, 0.0)
  assert float(found) == pytest.approx((expected * values).sum(), rel=1e-5, abs=1e-7)
  assert float(terms['importance']) == pytest.approx(mean, rel=1e-5)
  assert float(terms['importance_capped']) == pytest.approx(capped, abs=1e-6)
  assert 0 < capped < 1
  gradient = np.asarray(jax.grad(loss(method))(LOGP))
  assert np.isfinite(gradient).all() and (gradient[np.asarray(mask) == 0] == 0).all()
  if name != 'gspo':
    wanted = expected * np.asarray(jax.grad(loss(plain))(LOGP))
    np.testing.assert_allclose(gradient, wanted, rtol=1e-5, atol=1e-8)


def test_truncated_importance_of_the_policys_own_tokens_changes_nothing():
  data = batch(behavior_logp=LOGP)
  plain, method = methods.grpo(), methods.with_truncated_importance(methods.grpo())
  _, loss, terms, _ = run(method, data)
  _, expected, before, _ = run(plain, data)
  assert float(loss) == float(expected) and terms.items() >= before.items()
  assert float(terms['importance']) == pytest.approx(1, abs=1e-6)
  assert float(terms['importance_capped']) == 0


def test_truncated_importance_leaves_metrics_and_outer_terms_alone():
  data = batch(behavior_logp=LOGP - 0.3, old_logp=LOGP - 0.5)
  method = methods.plus(
    methods.with_truncated_importance(methods.grpo()),
    entropy=methods.entropy_bonus(aggregation.token_mean, 0.5),
  )
  _, _, terms, _ = run(method, data)
  _, _, plain, _ = run(methods.grpo(), data)
  assert float(terms['clip_fraction']) == float(plain['clip_fraction']) > 0
  assert float(terms['entropy']) == pytest.approx(float(LOGP.mean()), rel=1e-6)


def test_truncated_importance_refuses_what_it_cannot_weigh():
  with pytest.raises(ValueError, match='must be positive, not -1'):
    methods.with_truncated_importance(methods.grpo(), -1)
  with pytest.raises(ValueError, match='behavior_logp, which is None'):
    run(methods.with_truncated_importance(methods.grpo()), batch())
  whole = Term(lambda scores, data: scores.logp.sum(-1), aggregation.per_sequence)
  method = methods.with_truncated_importance(methods.plus(methods.grpo(), whole=whole))
  with pytest.raises(ValueError, match=r"'whole' has values of shape \(2, 3\)"):
    run(method, batch(behavior_logp=LOGP))


def test_together_runs_each_method_on_its_own_batch():
  inner = {'rollouts': methods.reinforce(), 'demonstrations': methods.rloo()}
  method = methods.together(**inner)
  data = {'rollouts': batch(), 'demonstrations': batch(rewards=2 * batch().rewards)}
  logp = {'rollouts': LOGP, 'demonstrations': 3 * LOGP}
  scores = {name: Scores(x) for name, x in logp.items()}
  state, prepared = method.prepare(method.init(), data)
  assert state == {'rollouts': (), 'demonstrations': ()} and method.measure is None
  loss, terms = training.total(method, scores, prepared, training.weigh(method, prepared))
  parts = {name: run(m, data[name], logp[name]) for name, m in inner.items()}
  assert float(loss) == pytest.approx(sum(float(part[1]) for part in parts.values()), rel=1e-6)
  assert set(terms) == {'rollouts_policy', 'demonstrations_policy'}
  for name, part in parts.items():
    assert float(terms[f'{name}_policy']) == pytest.approx(float(part[2]['policy']), rel=1e-6)


def test_together_hands_state_measure_and_coefficients_to_their_owner():
  method = methods.together(a=counting('x'), b=counting('x'), c=methods.reinforce())
  data = {'a': batch(), 'b': batch(), 'c': batch()}
  scores = {'a': Scores(LOGP), 'b': Scores(2 * LOGP), 'c': Scores(LOGP)}
  state, data = method.prepare(method.init(), data)
  state, data = method.measure(state, scores, data)
  mean = float(LOGP.mean())
  assert state['a']['prepared'] == state['b']['prepared'] == 1 and state['c'] == ()
  assert float(state['a']['measured']) == pytest.approx(mean)
  assert float(state['b']['measured']) == pytest.approx(2 * mean)
  loss, terms = training.total(method, scores, data, training.weigh(method, data))
  expected = mean**2 + 4 * mean**2 + float(terms['c_policy'])
  assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_together_does_not_change_its_arguments():
  method = methods.together(a=counting('x'))
  state, data = method.init(), {'a': batch()}
  before = jax.tree.map(lambda x: x, (state, data))
  method.measure(*method.prepare(state, data)[:1], {'a': Scores(LOGP)}, data)
  assert state == before[0] and data['a'].constants == {}


def test_stateless_has_no_state():
  method = methods.stateless(lambda b: b.replace(advantages=b.rewards[..., None]))
  state, prepared = method.prepare(method.init(), batch())
  assert state == () and method.terms == {} and method.measure is None
  np.testing.assert_array_equal(prepared.advantages[..., 0], batch().rewards)


def steering(by):
  return methods.grpo()._replace(init=lambda: by, draws=lambda state, logits: logits * state)


@pytest.mark.parametrize(
  'wrap',
  [
    lambda method: methods.with_adaptive_entropy(method, target=1.0),
    lambda method: methods.with_dynamic_scaling(method, categories=2, gap_low=0.0, gap_high=1.0),
    lambda method: methods.with_siren(method),
    lambda method: methods.together(mine=method, other=methods.grpo()),
  ],
)
def test_what_a_method_draws_from_reads_its_own_state_inside_another(wrap):
  method = wrap(steering(3.0))
  np.testing.assert_array_equal(method.draws(method.init(), jnp.arange(3.0)), [0.0, 3.0, 6.0])
  assert wrap(methods.grpo()).draws is None


def test_two_methods_cannot_both_steer_the_sampler():
  with pytest.raises(ValueError, match='a and b would each steer'):
    methods.together(a=steering(1.0), b=steering(2.0))
