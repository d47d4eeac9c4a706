"""What methods get from a second round of generation, or from the text of a worked solution."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base, quickstart
from experiments import build, cli
from experiments.errors import UserError
from experiments.feeders.branches import branches
from experiments.feeders.copies import copies
from experiments.feeders.cuts import cuts
from experiments.feeders.episodes import episodes
from experiments.feeders.potentials import potentials
from experiments.feeders.steps import expression, labels
from experiments.feeders.tree import tree
from experiments.rollout import Rollout, make_policy_sampler, rollout
from rljax import data, sampling, training
from rljax.types import Batch

LENGTH, GROUP = 12, 4


def configured(**feed):
  config = cli.settle(quickstart.get_config(), tiny=True).copy_and_resolve_references()
  with config.unlocked():
    config.rl.max_new_tokens = LENGTH
    config.feed.update(feed)
  return config


CONFIG = configured()


def score(text):
  """A reward with many values, of any text."""
  return sum(map(ord, text)) % 7 / 6


@pytest.fixture(scope='module')
def parts():
  """A run's parts, whose task rewards any text, and finds it right where its reward is above."""
  made = build.make_parts(CONFIG)
  task = made.task._replace(
    score=lambda problem, completion: score(completion),
    extract=lambda completion: '7' if score(completion) > 0.5 else None,
  )
  return made._replace(task=task)


@pytest.fixture(scope='module')
def params(parts):
  return build.initial_params(parts, 0)


@pytest.fixture(scope='module')
def drawn(parts, params):
  problems = [
    dataclasses.replace(problem, answer='7') for problem in data.prompts(parts.task, 0, 0, 3)
  ]
  return rollout(parts, make_policy_sampler(CONFIG, parts), params, problems, jax.random.key(1))


def worked(parts, problems, texts):
  """A rollout of given completions `[P][G]`, each with its end token."""
  ids = [[np.append(parts.tokenizer.encode(text), 0) for text in group] for group in texts]
  completion = np.full((len(ids), len(ids[0]), 40), -1, np.int32)
  for p, g in np.ndindex(completion.shape[:2]):
    completion[p, g, : len(ids[p][g])] = ids[p][g]
  correct = np.array(
    [
      [parts.task.extract(text) == problem.answer for text in group]
      for problem, group in zip(problems, texts, strict=True)
    ],
    np.float32,
  )
  mask = (completion >= 0).astype(np.float32)
  batch = Batch(
    completion=completion,
    mask=mask,
    rewards=correct,
    truncated=0 * correct,
    behavior_logp=-0.5 * mask,
    extras={'correct': correct},
  )
  return Rollout(jax.device_put(batch), problems, {}, {})


def alone(parts, params, *, count, length, warp=lambda logits: logits):
  """`(ids, key, row, limit) -> ` completions `[K, T]` of one row of a round, without the others."""

  @jax.jit
  def draw(ids, key, row, limit):
    return sampling.sample(
      parts.model,
      params,
      ids[None],
      key,
      group_size=count,
      max_new_tokens=length,
      eos=parts.tokenizer.stops,
      warp=warp,
      limits=limit[None],
      ids=row[None],
    )

  def of_row(ids, key, row, limit):
    ids = np.pad(ids, (30 - len(ids), 0), constant_values=-1)
    samples = draw(ids, key, np.int32(row), np.int32(limit))
    return np.asarray(samples.completion[0]), np.asarray(samples.truncated[0])

  return of_row


@pytest.mark.nightly
@pytest.mark.slow
def test_values_at_cuts_are_the_mean_reward_of_completions_of_the_prefix(parts, params, drawn):
  settings = {'threshold': 0.06, 'interval': 2, 'completions': 3}
  key = jax.random.key(7)
  fed = cuts(configured(cuts=settings), parts)(drawn, params, key).batch
  completion, logp = map(np.asarray, (drawn.batch.completion, drawn.batch.behavior_logp))
  draw = alone(parts, params, count=3, length=LENGTH)
  checked, inside = 0, np.zeros_like(logp)
  for p, g in np.ndindex(completion.shape[:2]):
    real = np.flatnonzero(completion[p, g] >= 0)
    found = [t for t in real if np.exp(logp[p, g, t]) < 0.06][::2]
    inside[p, g, found] = 1
    for s, t in enumerate(found):
      prompt = parts.tokenizer.encode_prompt(drawn.problems[p].prompt)
      row = (p * GROUP + g) * LENGTH // 2 + s
      new, truncated = draw(np.concatenate([prompt, completion[p, g, :t]]), key, row, LENGTH - t)
      texts = [parts.tokenizer.decode(np.concatenate([completion[p, g, :t], ids])) for ids in new]
      wanted = np.mean([0 if cut else score(x) for x, cut in zip(texts, truncated, strict=True)])
      np.testing.assert_allclose(fed.extras['values_at_cuts'][p, g, t], wanted, rtol=1e-6)
      checked += 1
  np.testing.assert_array_equal(fed.extras['cuts'], inside)
  assert checked > 5 and np.asarray(fed.extras['values_at_cuts']).max() > 0
  np.testing.assert_array_equal(fed.completion, drawn.batch.completion)


def scored_like_drawn(parts, params, batch):
  """Whether the prompts of a batch are those that its completions were drawn after."""
  found = jax.jit(training.make_score(parts.model))(params, batch)
  gap = jnp.where(batch.mask > 0, found.logp - batch.behavior_logp, 0.0)
  return float(jnp.abs(gap).max()) < 1e-4


@pytest.mark.nightly
@pytest.mark.slow
def test_a_tree_has_the_values_of_its_leaves(parts, params, drawn):
  settings = {'segment': 3, 'depth': 3, 'branching': 2}
  fed = tree(configured(tree=settings), parts)(drawn, params, jax.random.key(3)).batch
  size = GROUP + 2 * GROUP + 4 * GROUP
  assert fed.group_shape == (3, size)
  np.testing.assert_array_equal(fed.group, np.repeat(np.arange(3), size))
  assert scored_like_drawn(parts, params, fed)
  children, seen_ends = 0, 0
  for p, problem in enumerate(drawn.problems):
    rows = jax.tree.map(lambda x: np.asarray(x)[p * size : (p + 1) * size], fed)  # noqa: B023
    above = [None] * GROUP + [i // 2 for i in range(2 * GROUP + 4 * GROUP)]
    decode = parts.tokenizer.decode
    texts = [
      decode(a[a >= 0]) + decode(b) for a, b in zip(rows.prompt, rows.completion, strict=True)
    ]

    def value(node):
      below = [i for i in range(size) if above[i] == node and rows.keep[i]]  # noqa: B023
      if below:
        return np.mean([value(i) for i in below])
      return 0.0 if rows.truncated[node] else score(texts[node][len(problem.prompt) :])  # noqa: B023

    for i in range(size):
      if not rows.keep[i]:
        assert (rows.completion[i] == -1).all()
        assert not rows.keep[above[i]] or not rows.truncated[above[i]]
        continue
      parent = above[i]
      started = problem.prompt if parent is None else texts[parent]
      assert decode(rows.prompt[i][rows.prompt[i] >= 0]) == started
      siblings = [value(j) for j in range(size) if above[j] == parent and rows.keep[j]]
      np.testing.assert_allclose(rows.rewards[i], value(i), atol=1e-6)
      np.testing.assert_allclose(rows.extras['parent_value'][i], np.mean(siblings), atol=1e-6)
      np.testing.assert_allclose(rows.extras['parent_deviation'][i], np.std(siblings), atol=1e-6)
      seen_ends += not rows.truncated[i]
      children += parent is not None
    first = np.asarray(drawn.batch.completion[p, :, :3])
    np.testing.assert_array_equal(rows.completion[:GROUP, :3], first)
  assert children > 20 and seen_ends > 3


@pytest.mark.nightly
@pytest.mark.slow
def test_branches_begin_at_tokens_of_high_entropy(parts, params, drawn):
  settings = {'each': 2, 'top_k': 2, 'characters': 1}
  config = configured(branches=settings)
  fed = branches(config, parts)(drawn, params, jax.random.key(4)).batch
  size = GROUP * 3
  assert fed.group_shape == (3, size)
  assert scored_like_drawn(parts, params, fed)
  old = drawn.batch
  entropy = np.asarray(jax.jit(training.make_score(parts.model))(params, old).entropy)
  rows = jax.tree.map(lambda x: np.asarray(x).reshape(3, size, *x.shape[1:]), fed)
  for name in ('completion', 'mask', 'rewards', 'truncated', 'behavior_logp'):
    np.testing.assert_array_equal(getattr(rows, name)[:, :GROUP], getattr(old, name))
  wanted = np.repeat([0, 1], [GROUP, 2 * GROUP])
  np.testing.assert_array_equal(rows.extras['branched'], np.broadcast_to(wanted, (3, size)))
  late = 0
  for p, g in np.ndindex(3, GROUP):
    ids = np.asarray(old.completion[p, g])
    usable = [t for t in range(1, LENGTH) if ids[t] > 0]
    critical = sorted(usable, key=lambda t: -entropy[p, g, t])[:2]
    prompt = parts.tokenizer.encode_prompt(drawn.problems[p].prompt)
    for row in (GROUP + 2 * g, GROUP + 2 * g + 1):
      text = rows.prompt[p, row][rows.prompt[p, row] >= 0]
      place = len(text) - len(prompt)
      assert place in (critical or [0])
      np.testing.assert_array_equal(text, np.concatenate([prompt, ids[:place]]))
      new = rows.completion[p, row]
      assert rows.mask[p, row].sum() == (new >= 0).sum() <= LENGTH - place
      whole = parts.tokenizer.decode(np.concatenate([ids[:place], new]))
      reward = 0.0 if rows.truncated[p, row] else score(whole)
      np.testing.assert_allclose(rows.rewards[p, row], reward, rtol=1e-6)
      late += place > 0
  assert late > 10


def probability(parts, params, ids):
  """Distribution after every token of a text, `[T, V]`."""
  tokens = np.pad(ids, (0, 40 - len(ids)))  # nobody before sees them
  logits, _ = _apply(parts.model.apply)(params, tokens[None], np.arange(40)[None])
  return np.asarray(jax.nn.softmax(logits[0].astype(jnp.float32)), np.float64)[: len(ids)]


_apply = functools.cache(jax.jit)


@pytest.mark.nightly
@pytest.mark.slow
def test_potentials_are_of_probes_after_each_step(params):
  config = configured(potentials={'probes': 2, 'tokens': 4, 'temperature': 0.5}, steps={'most': 2})
  parts = build.make_parts(config)
  problem = data.Problem('12+39=', '51', 2, '')
  given = worked(parts, [problem], [['(2+9=11,1+3+1=5)51', '7', '(2,1,3)1']])
  with config.unlocked():
    config.rl.max_new_tokens = 40
  key = jax.random.key(5)
  found = potentials(config, parts)(given, params, key).batch.extras
  np.testing.assert_array_equal(found['num_steps'], [[2, 0, 2]])
  np.testing.assert_array_equal(found['step_id'][0, 0, :17], [0] * 8 + [1] * 8 + [2])
  prompt, answer = map(parts.tokenizer.encode, (problem.prompt, problem.answer))
  asked = {0: '(2+9=11)', 1: '(2+9=11,1+3+1=5)', 4: '(2)', 5: '(2,1)'}
  draw = alone(parts, params, count=2, length=4, warp=sampling.temperature(0.5))
  for row, text in asked.items():
    ids = np.concatenate([prompt, parts.tokenizer.encode(text)])
    probes, _ = draw(ids, key, row, 4)
    sure = []
    for probe in probes:
      real = probe[probe >= 0]
      law = probability(parts, params, np.concatenate([ids, real]))[len(ids) - 1 : -1]
      sure.append(np.exp((law * np.log(law)).sum(-1).mean()))
    law = probability(parts, params, np.concatenate([ids, answer]))[len(ids) - 1 : -1]
    right = law[np.arange(len(answer)), answer].mean()
    wanted = 1.5 * right * np.mean(sure) + 0.5 * right - np.mean(sure)
    np.testing.assert_allclose(found['potentials'][0, row // 2, row % 2], wanted, rtol=1e-4)


def test_labels_say_which_columns_are_right_or_match_the_wrong_answer():
  parts = build.make_parts(CONFIG)
  problem = data.Problem('855+399=', '1254', 3, '')
  texts = [
    '(5+9=14,5+9+1=15,8+3+1=12)1254',
    '(5+9=14,5+9=15,8+3+1=12)1254',  # right by luck
    '(5+9=14,5+9=14,8+3=11)1144',  # matches what it forgot
    '(5+9=14,5+9+1=15,8+3=11)1134',
    '(5+9=14',
  ]
  found = labels(CONFIG, parts)(worked(parts, [problem], [texts]), None, None).batch.extras
  np.testing.assert_array_equal(found['num_steps'], [[4, 4, 4, 4, 1]])
  wanted = [[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
  np.testing.assert_array_equal(found['labels'][0], wanted)
  lengths = [8, 9, 9]
  np.testing.assert_array_equal(found['step_id'][0, 0, :31], np.repeat([0, 1, 2, 3], [*lengths, 5]))


@pytest.mark.parametrize(('name', 'more'), [('column_addition', 1), ('random_calculation', 0)])
def test_every_step_of_a_worked_solution_is_right(name, more):
  config = quickstart.get_config()
  base.use_task(config, name)
  config = cli.settle(config, tiny=True).copy_and_resolve_references()
  parts = build.make_parts(config)
  problems = data.prompts(parts.task, 0, 0, 20)
  given = worked(parts, problems, [[parts.task.solve(problem)] for problem in problems])
  found = labels(config, parts)(given, None, None).batch.extras
  count = np.asarray(found['num_steps'])
  # The last step is the answer, which nobody judges.
  np.testing.assert_array_equal(found['labels'], np.arange(4) < count[..., None] - 1)
  np.testing.assert_array_equal(count[:, 0], [problem.difficulty + more for problem in problems])
  assert count.max() > 2


@pytest.mark.parametrize(
  ('step', 'answer', 'wanted'),
  [
    ('2+3*4=', '14', True),
    ('5*4=', '14', False),
    ('(2+3)*4=', '20', True),
    ('2+*4=', '8', False),
    ('2,3=', '23', False),
    ('=', '', False),
    ('14=', '14', True),
    (')2(=', '2', False),
    ('05=', '5', False),
  ],
)
def test_an_expression_is_right_where_it_has_the_value_of_the_answer(step, answer, wanted):
  assert expression('', step, answer, True) == wanted


def test_episodes_are_steps_that_begin_in_equal_states_where_they_follow_equal_ones():
  config = configured(steps={'most': 3})
  with config.unlocked():
    config.rl.max_new_tokens = 40
  parts = build.make_parts(config)
  problems = [data.Problem('55+39=', '94', 2, ''), data.Problem('1+2=', '3', 1, '')]
  texts = [['(5+9=14,5+3+1=9)94', '(5+9=14,5+3=8)84', '94'], ['(1+2=3)3', '(1+2=3)4', '(1,2,3,4)5']]
  given = worked(parts, problems, texts)
  fed = episodes(config, parts)(given, None, None).batch
  assert fed.group_shape == (2, 9)
  shape = (2, 3, 3)
  extras = {name: np.asarray(x).reshape(shape) for name, x in fed.extras.items()}
  decode = parts.tokenizer.decode
  found = [[decode(ids[ids > 0]) for ids in np.asarray(x)] for x in (fed.prompt, fed.completion)]
  pairs = np.array(list(zip(*found, strict=True)), object).reshape(*shape, 2)
  assert pairs[0, 0].tolist() == [
    ['55+39=', '(5+9=14,'],
    ['55+39=(5+9=14,', '5+3+1=9)'],
    ['55+39=(5+9=14,5+3+1=9)', '94'],
  ]
  assert pairs[1, 2].tolist() == [['1+2=', '(1,'], ['1+2=(1,', '2,'], ['1+2=(1,2,', '3,4)5']]
  there = np.array([[[1, 1, 1], [1, 1, 1], [1, 0, 0]], [[1, 1, 0], [1, 1, 0], [1, 1, 1]]])
  np.testing.assert_array_equal(np.asarray(fed.keep).reshape(shape), there)
  episode = np.where(there, np.arange(3)[:, None], -1)
  np.testing.assert_array_equal(extras['trajectory'], episode)
  rewards = np.zeros(shape)
  rewards[0, 0, 2] = rewards[0, 2, 0] = rewards[1, 0, 1] = 1
  np.testing.assert_array_equal(extras['step_rewards'], rewards)
  whole = np.repeat(np.asarray(given.batch.rewards)[..., None], 3, axis=-1)
  np.testing.assert_array_equal(np.asarray(fed.rewards).reshape(shape), whole)
  state = extras['state']
  assert state[0, 0, 0] == state[0, 1, 0] == state[0, 2, 0]
  assert state[0, 0, 1] == state[0, 1, 1] != state[0, 0, 0]
  assert state[0, 0, 2] != state[0, 1, 2]
  assert state[1, 0, 1] == state[1, 1, 1] != state[1, 2, 1]
  assert (np.asarray(fed.mask).sum(-1).reshape(shape) > 0).tolist() == (there > 0).tolist()


def test_groups_without_a_value_give_way_to_others(parts, params, drawn):
  rewards = np.array([[0, 1, 0, 0], [0.5, 0.5, 0.5, 0.5], [0, 1, 1, 0]], np.float32)
  given = drawn._replace(numbers=drawn.numbers | {'rewards': rewards})
  found = copies(CONFIG, parts)(given, params, jax.random.key(2))
  names = [problem.prompt for problem in found.problems]
  before = [problem.prompt for problem in drawn.problems]
  assert names[::2] == before[::2] and names[1] in before[::2]
  times = [names.count(name) for name in names]
  assert sorted(times) == [1, 2, 2]
  np.testing.assert_array_equal(
    found.batch.extras['copies'], np.repeat(times, GROUP).reshape(3, -1)
  )
  for p in (0, 2):
    np.testing.assert_array_equal(found.batch.completion[p], drawn.batch.completion[p])
  twin = before.index(names[1])
  np.testing.assert_array_equal(found.batch.prompt[1], drawn.batch.prompt[twin])
  assert (found.batch.completion[1] != drawn.batch.completion[twin]).any()
  np.testing.assert_array_equal(found.numbers['rewards'][1], found.batch.rewards[1])
  assert scored_like_drawn(parts, params, found.batch)


@pytest.mark.parametrize('feeder', [tree, branches, episodes])
@pytest.mark.parametrize(('name', 'value'), [('minibatches', 2), ('bucket', 4)])
def test_rows_of_their_own_are_refused_where_they_cannot_be_cut(parts, feeder, name, value):
  config = configured()
  with config.unlocked():
    config.rl[name] = value
  with pytest.raises(UserError, match=rf'rl.{name} \({value}\)'):
    feeder(config, parts)


def test_a_tree_needs_tokens_for_its_last_segment(parts):
  with pytest.raises(UserError, match='needs more than 12 tokens'):
    tree(configured(tree={'segment': 6, 'depth': 3}), parts)


def test_a_task_without_a_judge_is_refused(parts):
  latex = parts._replace(task=parts.task._replace(name='random_calculation_latex'))
  with pytest.raises(UserError, match='no judge'):
    labels(CONFIG, latex)
