"""The overhead benchmark takes methods as they come, feeds them, and says where it cannot."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import quickstart
from experiments.bench import library, workload
from experiments.bench import methods as bench
from rljax import aggregation, data, methods, training
from rljax.types import Batch, Method, Term

REPOSITORY = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope='module')
def tiny():
  """The tiny workload, its model and parameters."""
  w = workload.tiny()
  w.update({'group_size': 4, 'prompts': 2})
  model = library.decoder(w)
  return w, model, library.parameters(w, model)


def asking(*names, measure=None, only=None) -> Method:
  """A method that reads extras by name, each of which its error names."""

  def prepare(batch):
    if only is not None:
      only(batch)
    for name in names:
      if name not in batch.extras:
        raise ValueError(f'This method needs batch.extras[{name!r}], that is all.')
    return batch.replace(advantages=batch.rewards[..., None])

  policy = Term(lambda s, b: -s.logp * b.advantages, aggregation.token_mean)
  return methods.stateless(prepare, policy=policy)._replace(measure=measure)


def test_a_method_is_given_what_its_errors_name(tiny):
  w, model, params = tiny
  program, _ = bench.fitting(w, model, params, asking('greedy_rewards', 'old_values'))
  assert program.extras == ['greedy_rewards', 'old_values'] and program.layout == 'groups'
  assert program.step() > 0 and program.step() > 0


def test_a_key_that_is_missing_is_given_too(tiny):
  method = asking(only=lambda batch: batch.extras['potentials'])
  assert bench.fitting(*tiny, method)[0].extras == ['potentials']


def test_what_nobody_knows_is_reported_in_the_methods_words(tiny):
  with pytest.raises(bench.Unfit, match=r"ValueError: This method needs batch.extras\['moon'\]"):
    bench.fitting(*tiny, asking('moon'))


@pytest.mark.nightly
@pytest.mark.slow
def test_a_method_of_pairs_or_rows_finds_its_layout(tiny):
  def pairs(batch):
    if batch.rewards.ndim != 2 or batch.rewards.shape[1] != 2:
      raise ValueError('pairs only')

  def rows(batch):
    if batch.group is None:
      raise ValueError('rows only')

  for name, only in (('pairs', pairs), ('rows', rows)):
    program, _ = bench.fitting(*tiny, asking(only=only))
    assert program.layout == name and program.step() > 0


def test_layouts_hold_the_same_completions(tiny):
  found = dict(bench.layouts(tiny[0], methods.grpo()))
  groups = found['groups']
  for batch in found.values():
    np.testing.assert_array_equal(
      np.ravel(batch.completion), np.ravel(groups.completion), err_msg='order'
    )
    assert batch.prompt.shape[0] == batch.completion.shape[0]
  prompts = np.asarray(groups.prompt)[:, 0]
  np.testing.assert_array_equal(found['rows'].prompt, np.repeat(prompts, 4, axis=0))
  np.testing.assert_array_equal(found['pairs'].prompt[:, 0], np.repeat(prompts, 2, axis=0))
  np.testing.assert_array_equal(found['rows'].group, np.repeat(np.arange(2), 4))


def test_every_kind_of_extra_has_the_leading_shape_of_the_batch():
  rng = np.random.default_rng(0)
  for name, make in bench.FEED.items():
    array = make(rng, (3, 4), 5)
    assert array.shape[:2] == (3, 4) and np.isfinite(array).all(), name


def test_programs_take_turns_after_each_has_warmed_up():
  order = []

  def program(name, seconds):
    def step():
      order.append(name)
      return seconds

    return bench.Program('groups', [], step)

  programs = [program('a', 1.0), program('b', 1.5), program('c', 2.0)]
  assert bench.in_turn(*programs, repeats=3, warmup=1) == [[1.0] * 3, [1.5] * 3, [2.0] * 3]
  assert ''.join(order) == 'abc' * 5


@pytest.mark.nightly
@pytest.mark.slow
def test_a_method_of_two_batches_gets_both_beside_grpo_on_both(tiny):
  w, model, params = tiny
  program, batch = bench.fitting(w, model, params, methods.red_sft())
  assert program.layout == 'groups and demonstrations' and program.step() > 0
  assert batch['rollouts'].mask.shape == (2, 4, 8)
  assert batch['demonstrations'].mask.shape == (2, 1, 8)
  for method in (bench.grpo_on(batch), bench.grpo_on(batch, methods.red_sft())):
    assert bench.make_program(w, model, params, method, '', batch).step() > 0


def test_grpo_with_a_forward_pass_more_keeps_what_it_scores(tiny):
  w, model, params = tiny
  batch = bench.judged(w)
  method = bench.grpo_on(batch, methods.siren(max_length=8))
  step = library.train_step(w, model, method)
  batch = library.preparation(w, model, method)(params, batch)
  state = training.init_state(jax.tree.map(jnp.copy, params), library.optimizer(w), method)
  assert float(state.method_state['seen']) == 0
  state, _ = step(state, batch)
  scores = library.scorer(w, model, method)(params, batch)
  expected = sum(float(np.mean(x)) for x in jax.tree.leaves(scores))
  np.testing.assert_allclose(float(state.method_state['seen']), expected, rtol=1e-4)


def test_the_quickstarts_sizes_are_those_of_its_configuration():
  w, run = workload.quickstart(), quickstart.get_config()
  task = data.get_task(run.task, **run.task_kwargs)
  assert w.model.vocab_size == data.CharTokenizer(task.alphabet).vocab_size
  assert (w.model.dim, w.model.num_layers) == (run.model.dim, run.model.num_layers)
  assert (w.prompts, w.group_size) == (run.rl.prompts, run.rl.group_size)
  assert (w.max_new_tokens, w.microbatches) == (run.rl.max_new_tokens, run.rl.microbatches)


@pytest.mark.nightly
@pytest.mark.slow
def test_the_command_prints_a_line_a_method():
  done = subprocess.run(
    [
      *(sys.executable, '-m', 'experiments.bench.methods', '--model=tiny', '--repeats=2'),
      '--methods=grpo,dapo,gspo',
    ],
    cwd=REPOSITORY,
    env=os.environ,
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  lines = [json.loads(line) for line in done.stdout.splitlines()]
  assert [line['method'] for line in lines] == ['grpo', 'dapo', 'gspo']
  for line in lines:
    assert line['benchmark'] == 'methods' and line['model'] == 'tiny'
    assert line['ratio']['min'] <= line['ratio']['median'] <= line['ratio']['max']
    assert line['seconds_of_grpo']['median'] > 0 and line['measure'] is False


@pytest.mark.nightly
@pytest.mark.slow
def test_the_command_knows_no_other_method():
  done = subprocess.run(
    [sys.executable, '-m', 'experiments.bench.methods', '--model=tiny', '--methods=grpoo'],
    cwd=REPOSITORY,
    env=os.environ,
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode and 'There is no grpoo. Methods: ' in done.stderr


def test_measure_is_run_in_every_step_of_the_benchmark(tiny):
  seen = []

  def measure(state, scores, batch):
    seen.append(scores.logp.shape)
    return state, batch

  bench.fitting(*tiny, asking(measure=measure))
  assert seen and all(shape == (2, 4, 8) for shape in seen)
  assert isinstance(bench.judged(tiny[0]), Batch)
  assert set(np.unique(jnp.ravel(bench.judged(tiny[0]).rewards))) <= {0.0, 1.0}
