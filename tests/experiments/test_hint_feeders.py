"""Hints on their way into a batch: what is given away, what is drawn after it, how it is judged."""

import jax
import numpy as np
import pytest
import unbatched

from configs import base
from experiments import build, cli
from experiments.errors import UserError
from experiments.feeders import adhint, ghpo, seele
from experiments.rollout import make_policy_sampler, rollout
from rljax import curricula, data, verifiers

P, G, T = 4, 4, 24


def configured():
  config = cli.settle(base.get_config(), tiny=True)
  with config.unlocked():
    config.task_kwargs.update(min_digits=1, max_digits=2)
    config.rl.update(prompts=P, group_size=G, max_new_tokens=T)
  return config


@pytest.fixture(scope='module')
def world():
  """Configuration, parts, random parameters and a rollout without hints."""
  config = configured()
  parts = build.check(config)
  params = build.initial_params(parts, 0)
  problems = data.prompts(parts.task, 0, 0, P)
  drawn = rollout(parts, make_policy_sampler(config, parts), params, problems, jax.random.key(1))
  return config, parts, params, drawn


def with_correct(drawn, correct):
  return drawn._replace(numbers={**drawn.numbers, 'correct': np.asarray(correct, np.float32)})


def real(ids):
  ids = np.asarray(ids)
  return ids[ids >= 0]


def check_judgement(parts, problem, text, truncated, reward, correct):
  wanted = verifiers.verify(parts.task, [problem], [text], [truncated])
  assert (wanted['score'][0], wanted['correct'][0]) == (reward, correct)


def test_ghpo_asks_failed_prompts_again_with_a_quarter_more(world, monkeypatch):
  config, parts, params, drawn = world
  correct = np.zeros((P, G))
  correct[0, 2] = 1
  calls = []

  def watched(*args, **kwargs):
    """The rollout; its second round is said to have solved problem 1."""
    again = rollout(*args, **kwargs)
    calls.append((kwargs['limits'], again))
    if len(calls) < 2:
      return again
    correct = again.numbers['correct'].copy()
    correct[1, 3] = 1
    return with_correct(again, correct)

  monkeypatch.setattr(ghpo, 'rollout', watched)
  fed = ghpo.hint_stage(config, parts)(with_correct(drawn, correct), params, jax.random.key(2))
  stages = [0, 2, 3, 3]
  np.testing.assert_array_equal(fed.batch.extras['hint_stage'], np.repeat([stages], G, 0).T)
  assert [limits.tolist() for limits, _ in calls] == [[1, T, T, T], [1, T, T, T], [1, 1, T, T]]
  np.testing.assert_array_equal(fed.batch.completion[0], drawn.batch.completion[0])
  np.testing.assert_array_equal(fed.batch.completion[1], calls[1][1].batch.completion[1])

  slow_logp = unbatched.make_logp(parts, params)
  assert fed.batch.prompt.shape == (P, 1, parts.prompt_width + parts.task.max_completion)
  for p, problem in enumerate(drawn.problems):
    solution = parts.task.solve(problem)
    hint = solution[: round(stages[p] / 4 * len(solution))]
    assert fed.given[p] == hint
    prompt = parts.tokenizer.encode(problem.prompt + hint)
    np.testing.assert_array_equal(fed.batch.prompt[p, 0, -len(prompt) :], prompt)
    assert (fed.batch.prompt[p, 0, : -len(prompt)] == -1).all()
    for g in range(G):
      ids = real(fed.batch.completion[p, g])
      found = np.asarray(fed.batch.behavior_logp[p, g])
      np.testing.assert_allclose(found[: len(ids)], slow_logp(prompt, ids), atol=1e-4)
      assert fed.batch.mask[p, g].sum() == len(ids)
      check_judgement(
        parts,
        problem,
        hint + parts.tokenizer.decode(ids),
        fed.batch.truncated[p, g],
        fed.batch.rewards[p, g],
        fed.batch.extras['correct'][p, g],
      )


def test_ghpo_waits_for_its_first_step(world):
  config, parts, params, drawn = world
  with config.unlocked():
    config.feed.hint_stage.start_step = 3
  feed = ghpo.hint_stage(config, parts)
  early = feed(drawn._replace(step=2), params, jax.random.key(2))
  config.feed.hint_stage.start_step = 0
  np.testing.assert_array_equal(early.batch.completion, drawn.batch.completion)
  assert early.given == [''] * P and not early.batch.extras['hint_stage'].any()
  wide, narrow = np.asarray(early.batch.prompt), np.asarray(drawn.batch.prompt)
  np.testing.assert_array_equal(wide[..., -narrow.shape[-1] :], narrow)
  assert (wide[..., : -narrow.shape[-1]] == -1).all()


def check_hinted_members(world, batch, problem, p, members, hint):
  """Members begin with the hint, go on from it under the policy, and are judged as a whole."""
  _, parts, params, _ = world
  slow_logp = unbatched.make_logp(parts, params)
  prompt = parts.tokenizer.encode_prompt(problem.prompt)
  for g in members:
    ids = real(batch.completion[p, g])
    np.testing.assert_array_equal(ids[: len(hint)], hint)
    assert len(ids) > len(hint)
    marks = np.arange(T) < len(hint)
    np.testing.assert_array_equal(batch.extras['hint_mask'][p, g], marks)
    np.testing.assert_array_equal(batch.mask[p, g], np.arange(T) < len(ids))
    found = np.asarray(batch.behavior_logp[p, g])
    np.testing.assert_allclose(found[: len(ids)], slow_logp(prompt, ids), atol=1e-4)
    check_judgement(
      parts,
      problem,
      parts.tokenizer.decode(ids),
      batch.truncated[p, g],
      batch.rewards[p, g],
      batch.extras['correct'][p, g],
    )


@pytest.mark.nightly
@pytest.mark.slow
def test_seele_draws_its_rounds_after_hints_of_the_fitted_length(world, monkeypatch):
  config, parts, params, drawn = world
  # Half right without a hint is the target, and a hint with which nobody is right was too short.
  alone = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], np.float32)
  first = np.array([[1, 1], [0, 0], [1, 1], [1, 0]], np.float32)
  monkeypatch.setattr(
    seele, 'rollout', lambda *args, **kwargs: with_correct(rollout(*args, **kwargs), first)
  )
  fed = seele.hint_mask(config, parts)(with_correct(drawn, alone), params, jax.random.key(3))
  batch = fed.batch
  np.testing.assert_array_equal(batch.prompt, drawn.batch.prompt)
  counts = []
  for p, problem in enumerate(drawn.problems):
    solution = parts.tokenizer.encode(parts.task.solve(problem))
    size = len(solution)
    check_hinted_members(world, batch, problem, p, [0, 1], solution[: size - 1])
    rate = curricula.seele_rate(
      np.array([[0, (size - 1) / size]], np.float32), np.array([[alone[p].mean(), first[p].mean()]])
    )
    count = round(float(rate[0]) * size)
    check_hinted_members(world, batch, problem, p, [2, 3], solution[:count])
    counts.append(count)
  assert counts[0] == 0 < counts[2] < counts[1] and counts[3] > 0


def test_seele_needs_groups_of_equal_rounds(world):
  config, parts, *_ = world
  with pytest.raises(UserError, match=r'group_size \(4\) must be a multiple of .*rounds \(3\)'):
    config.feed.hint_mask.rounds = 3
    seele.hint_mask(config, parts)
  config.feed.hint_mask.rounds = 2


def test_adhint_adds_members_whose_hints_follow_from_the_rewards(world):
  config, parts, params, drawn = world
  rewards = np.array([[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0]], np.float32)
  numbers = {**drawn.numbers, 'rewards': rewards}
  fed = adhint.hinted(config, parts)(drawn._replace(numbers=numbers), params, jax.random.key(4))
  batch = fed.batch
  np.testing.assert_array_equal(batch.extras['hinted'], np.repeat([[0, 1]] * P, G, axis=1))
  np.testing.assert_array_equal(batch.completion[:, :G], drawn.batch.completion)
  np.testing.assert_array_equal(batch.behavior_logp[:, :G], drawn.batch.behavior_logp)
  assert not batch.extras['hint_mask'][:, :G].any()
  for p, problem in enumerate(drawn.problems):
    solution = parts.tokenizer.encode(parts.task.solve(problem))
    count = int(np.floor((0.2 + 0.6 * (1 - rewards[p].mean())) * len(solution) + 1e-4))
    check_hinted_members(world, batch, problem, p, range(G, 2 * G), solution[:count])
