"""What `prepare` reads of the policy before its update, and what a scorer without it is told."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toys

from rljax import aggregation, methods, training
from rljax.types import Batch, Scores, Term

PARAMS = jax.tree.map(jnp.asarray, toys.table(0))
SHAPE = (2, 3, 4)
RNG = np.random.default_rng(0)
SCORES = Scores(
  jnp.float32(RNG.normal(size=SHAPE)),
  jnp.float32(RNG.random(SHAPE)),
  extras={
    'largest': jnp.float32(RNG.random(SHAPE)),
    'size': jnp.float32(RNG.random(SHAPE[:2])),
  },
)


def test_reads_are_found_in_the_batch_and_the_rest_is_left_alone():
  batch = Batch(mask=jnp.ones(SHAPE), extras={'correct': jnp.ones(SHAPE[:2])})
  assert training.fill_reads((), SCORES, batch) is not None
  nothing = training.fill_reads((), SCORES, batch)
  assert nothing.old_logp is None and set(nothing.extras) == {'correct'}
  some = training.fill_reads(('entropy', 'size'), SCORES, batch)
  assert some.old_logp is None and set(some.extras) == {'correct', 'old_entropy', 'old_size'}
  np.testing.assert_array_equal(some.extras['old_entropy'], SCORES.entropy)
  np.testing.assert_array_equal(some.extras['old_size'], SCORES.extras['size'])
  logp = training.fill_reads(('logp',), SCORES, batch)
  np.testing.assert_array_equal(logp.old_logp, SCORES.logp)
  assert set(logp.extras) == {'correct'} and set(batch.extras) == {'correct'}


def test_reads_carry_no_gradient():
  def total(logp):
    filled = training.fill_reads(
      ('logp', 'largest'), Scores(logp, extras={'largest': logp}), Batch()
    )
    return jnp.sum(filled.old_logp + filled.extras['old_largest'])

  assert float(total(SCORES.logp)) == pytest.approx(2 * float(SCORES.logp.sum()), rel=1e-5)
  np.testing.assert_array_equal(jax.grad(total)(SCORES.logp), np.zeros(SHAPE))


def test_reads_that_nobody_can_fill_are_named_with_the_remedy():
  with pytest.raises(
    ValueError, match=r"reads \['tail'\].*'largest'.*statistics=method.statistics"
  ):
    training.fill_reads(('logp', 'tail'), SCORES, Batch())
  with pytest.raises(ValueError, match=r"reads \['entropy'\]"):
    training.fill_reads(('entropy',), Scores(SCORES.logp), Batch())


def largest(logits, targets):
  del targets
  return logits.max(-1)


def reading(measured=False, **further):
  """Its loss is the mean of a statistic, which it reads in its term or in `measure`."""

  def measure(state, scores, batch):
    return state, batch.replace(constants={'mean': scores.extras['largest'].mean()})

  def value(scores, batch):
    return scores.logp if measured else scores.extras['largest']

  term = Term(value, aggregation.token_mean)
  return methods.stateless(lambda batch: batch, mean=term)._replace(
    measure=measure if measured else None, **further
  )


@pytest.mark.parametrize('measured', [False, True])
def test_a_statistic_that_the_scores_lack_is_named_with_the_remedy(measured):
  tx = optax.sgd(0.1)
  batch = toys.as_batch(toys.problem(0, [2, 2]), 'groups')
  method = reading(measured, statistics={'largest': largest})
  state = training.init_state(PARAMS, tx, method)
  without = training.make_train_step(training.make_score(toys.TABLE), method, tx)
  with pytest.raises(ValueError, match=r"scores.extras\['largest'\].*statistics=method.statistics"):
    without(state, batch)
  score = training.make_score(toys.TABLE, statistics=method.statistics)
  after, metrics = jax.jit(training.make_train_step(score, method, tx, 2))(state, batch)
  assert np.abs(np.asarray(after.params['table']) - PARAMS['table']).max() > 1e-4
  assert np.isfinite(metrics['loss/mean'])


def test_a_mistake_in_a_method_keeps_its_own_error():
  batch = toys.as_batch(toys.problem(0, [2, 2]), 'groups')
  scores = training.make_score(toys.TABLE)(PARAMS, batch)
  method = reading()  # it names no statistic
  with pytest.raises(KeyError, match='largest'):
    training.total(method, scores, batch, training.weigh(method, batch))


def inner(name):
  """A method with a statistic called 'it', of which it reads more than one kind."""

  def prepare(state, batch):
    return state, batch.replace(advantages=batch.extras['old_it'] * batch.extras['old_entropy'])

  policy = Term(lambda s, b: s.extras['it'] * b.advantages, aggregation.token_mean)
  value = Term(lambda s, b: s.values - b.extras['old_values'], aggregation.token_mean)
  scale = {'first': 2.0, 'second': -3.0}[name]
  return methods.stateless(lambda batch: batch, policy=policy)._replace(
    prepare=prepare,
    statistics={'it': lambda logits, targets: scale * logits.max(-1)},
    reads=('it', 'entropy'),
    critic={'value': value},
  )


@pytest.mark.parametrize('nested', [False, True])
def test_methods_together_find_their_own_statistics_under_their_own_names(nested):
  """Two statistics of one name, one scorer: the gradient is the sum of those of either alone."""
  parts = {name: inner(name) for name in ('first', 'second')}
  method = methods.together(**parts)
  assert set(method.statistics) == {'first_it', 'second_it'}
  assert method.reads == ('first_it', 'entropy', 'second_it')
  assert set(method.critic) == {'first_value', 'second_value'}
  batches = {
    name: toys.as_batch(toys.problem(seed, [2, 2]), 'groups') for seed, name in enumerate(parts)
  }
  if nested:
    method, batches = methods.together(both=method), {'both': batches}
    assert set(method.statistics) == {'both_first_it', 'both_second_it'}
  one = training.make_score(toys.TABLE, statistics=method.statistics)

  def score(params, batches):
    return jax.tree.map(lambda b: one(params, b), batches, is_leaf=lambda x: isinstance(x, Batch))

  tx = optax.sgd(1.0)

  def step(method, score, batches):
    filled = training.fill_reads(method.reads, score(PARAMS, batches), batches)
    _, filled = method.prepare(method.init(), filled)
    return training.make_train_step(score, method, tx)(
      training.init_state(PARAMS, tx, method), filled
    ), filled

  (state, _), prepared = jax.jit(lambda b: step(method, score, b))(batches)
  moved = 0.0
  for name, part in parts.items():
    alone = training.make_score(toys.TABLE, statistics=part.statistics)
    batch = (batches['both'] if nested else batches)[name]
    (own, _), _ = step(part, alone, batch)
    moved = moved + np.asarray(own.params['table']) - PARAMS['table']
    mine = (prepared['both'] if nested else prepared)[name]
    assert set(mine.extras) == {'correct', 'old_it', 'old_entropy'}
  assert np.abs(moved).max() > 1e-2
  np.testing.assert_allclose(state.params['table'] - PARAMS['table'], moved, rtol=1e-4, atol=1e-6)


def test_critics_together_are_each_on_their_own_batch():
  method = methods.together(first=inner('first'), second=inner('second'))
  scores = {'first': Scores(jnp.zeros(SHAPE), values=jnp.ones(SHAPE))}
  scores['second'] = scores['first'].replace(values=3 * jnp.ones(SHAPE))
  scores = {
    name: x.replace(extras={'first_it': x.logp, 'second_it': x.logp}) for name, x in scores.items()
  }
  batch = Batch(mask=jnp.ones(SHAPE), extras={'old_values': jnp.ones(SHAPE)})
  batches = {'first': batch, 'second': batch}
  for name, expected in (('first', 0.0), ('second', 2.0)):
    term = method.critic[f'{name}_value']
    np.testing.assert_array_equal(term.value(scores, batches), np.full(SHAPE, expected))
    assert float(term.weights(batches).sum()) == pytest.approx(1.0)


def test_methods_together_refuse_names_that_meet():
  with pytest.raises(ValueError, match='Two statistics would be called a_b_it'):
    methods.together(
      a=methods.grpo()._replace(statistics={'b_it': largest}),
      a_b=methods.grpo()._replace(statistics={'it': largest}),
    )
  with pytest.raises(ValueError, match=r"\['a_b_it'\] would be statistics and features"):
    methods.together(
      a=methods.grpo()._replace(statistics={'b_it': largest}),
      a_b=methods.grpo()._replace(features={'it': largest}),
    )


WRAPPERS = {
  'plus': lambda m: methods.plus(m, bonus=methods.entropy_bonus(aggregation.token_mean, 0.1)),
  'with_rewards': lambda m: methods.with_rewards(lambda b: b.rewards, m),
  'with_keep': lambda m: methods.with_keep(lambda b: b.rewards, m),
  'with_truncated_importance': methods.with_truncated_importance,
}


@pytest.mark.parametrize('name', WRAPPERS)
def test_combinators_keep_what_a_method_asks_for(name):
  method = methods.grpo()._replace(
    statistics={'largest': largest},
    reads=('largest', 'logp'),
    critic={'value': Term(lambda s, b: s.values, aggregation.token_mean)},
    features={'size': lambda x, real: real},
  )
  wrapped = WRAPPERS[name](method)
  for field in ('statistics', 'reads', 'critic', 'features'):
    assert getattr(wrapped, field) == getattr(method, field) != ()
