"""What a method costs beside GRPO: `python -m experiments.bench.methods [--methods=gspo,dapo]`.

One JSON line for each method of `rljax.methods`, as `configs/method.py` sets it: the quickstart's
train step with it against the one with `grpo`, repeat by repeat in turn in one process, and the
median of their ratios. A method with `measure` scores the batch once more in every step, so its
line also has the ratio to GRPO with one forward pass more, of what the method reads. What the
rollout does not give, a method finds in `batch.extras`: plausible numbers from `FEED`. Of a method
that cannot be built or fed, the line says why.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from configs.method import get_config, method_names
from experiments import build
from experiments.bench import harness, library, worker
from experiments.errors import UserError
from rljax import methods, training
from rljax.types import Batch, Method

FLAGS = flags.FLAGS


class Unfit(Exception):
  """A method that cannot be built or fed; the message says why."""


def unit(rng, shape, length):
  """Numbers in [0, 1) a completion."""
  del length
  return rng.random(shape)


def bit(rng, shape, length):
  """0 or 1 a completion."""
  del length
  return rng.integers(0, 2, shape).astype(np.float32)


def unit_per_token(rng, shape, length):
  """Numbers in [0, 1) a token."""
  return rng.random((*shape, length))


def bit_per_token(rng, shape, length):
  """0 or 1 a token."""
  return rng.integers(0, 2, (*shape, length)).astype(np.float32)


def logp_per_token(rng, shape, length):
  """Log-probabilities a token."""
  return -rng.exponential(1.0, (*shape, length))


def several(count: int) -> Callable[..., np.ndarray]:
  """So many numbers in [0, 1) a completion."""
  return lambda rng, shape, length: rng.random((*shape, count))


def label(count: int) -> Callable[..., np.ndarray]:
  """One of so many whole numbers a completion."""
  return lambda rng, shape, length: rng.integers(0, count, shape)


def steps_of_tokens(rng, shape, length):
  """The step of each token, the first of `STEPS` to the last."""
  del rng
  return np.broadcast_to(np.arange(length) * STEPS // length, (*shape, length))


STEPS = 4  # of a completion

# What methods read in `batch.extras`, by name: `(generator, N, T) -> array`.
FEED: dict[str, Callable[..., np.ndarray]] = {
  'answers': label(4),
  'category': label(2),
  'components': lambda rng, shape, length: rng.random((*shape, 2)),
  'copies': lambda rng, shape, length: np.ones(shape),
  'cuts': bit_per_token,
  'difference': unit,
  'difficulty': unit,
  'diversity': unit,
  'expert_logp': logp_per_token,
  'greedy_rewards': unit,
  'has_expert': bit,
  'hint_mask': bit_per_token,
  'hinted': bit,
  'instant_accuracy': unit,
  'iou': unit,
  'labels': several(STEPS),
  'modes': label(3),
  'num_steps': lambda rng, shape, length: np.full(shape, STEPS),
  'old_values': unit_per_token,
  'parent_deviation': unit,
  'parent_value': unit,
  'passes': lambda rng, shape, length: rng.integers(0, 2, (*shape, STEPS, 8)),
  'potentials': several(STEPS),
  'predicted': unit,
  'prompt_confidence': unit,
  'prompt_id': label(64),
  'ref_accuracy': unit,
  'ref_length': unit,
  'reference': bit,
  'reward_gap': unit,
  'state': label(4),
  'step': label(STEPS),
  'step_id': steps_of_tokens,
  'step_mask': lambda rng, shape, length: np.ones((*shape, STEPS)),
  'step_rewards': unit,
  'step_scores': several(STEPS),
  'tags': label(3),
  'trajectory': label(4),
  'values_at_cuts': unit_per_token,
}


def build_method(w: Any, name: str) -> Method:
  """The method as `configs/method.py` sets it, for the workload's sizes; raises Unfit."""
  config = get_config(name)
  sizes = ('prompts', 'group_size', 'max_new_tokens')
  config.rl.update({size: w[size] for size in sizes})
  try:
    return build.method(config)
  except UserError as error:
    raise Unfit(str(error)) from error


def judged(w: Any) -> Batch:
  """A rollout with rewards of 0 and 1, correctness and the reference's scores."""
  batch = library.rollout(w)
  right = np.random.default_rng(w.seed).random(batch.rewards.shape) < 0.6
  correct = jnp.asarray(right, jnp.float32)
  return dataclasses.replace(
    batch, rewards=correct, ref_logp=batch.behavior_logp - 0.1, extras={'correct': correct}
  )


# Second batches by the name under which methods ask for them: `rollouts -> batch`.
BESIDE: dict[str, Callable[[Batch], Batch]] = {
  'demonstrations': lambda batch: jax.tree.map(lambda x: x[:, :1], batch),
  'replayed': lambda batch: batch,
}


def layouts(w: Any, method: Method) -> Iterator[tuple[str, Any]]:
  """The same rollout as groups, as rows and as pairs, or in a dict beside what the method needs."""
  batch = judged(w)
  beside = [name for name in method.needs if name in BESIDE]
  if beside:
    second = {name: BESIDE[name](batch) for name in beside}
    yield ' and '.join(['groups', *beside]), {'rollouts': batch, **second}
    return
  yield 'groups', batch
  prompts, size = batch.rewards.shape
  lead = prompts * size

  def shaped(*shape):
    arrays = batch.replace(prompt=None)
    return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[2:]), arrays)

  repeated = jnp.repeat(batch.prompt[:, 0], size, axis=0)
  group = jnp.repeat(jnp.arange(prompts, dtype=jnp.int32), size)
  yield 'rows', shaped(lead).replace(prompt=repeated, group=group, group_shape=(prompts, size))
  if size > 2 and not size % 2:
    yield 'pairs', shaped(lead // 2, 2).replace(prompt=repeated[::2, None])


def grpo_on(batch: Any, beside: Method | None = None) -> Method:
  """GRPO on a batch or on each of a dict of them; with a forward pass more beside another method.

  That pass gives what the method reads, and a `measure` keeps the mean of it.
  """
  grpo = methods.grpo()
  if isinstance(batch, dict):
    grpo = methods.together(**dict.fromkeys(batch, grpo))
  if beside is None:
    return grpo

  def measure(state, scores, batch):
    # A forward pass of which nothing were kept would be left out by the compiler.
    means = [jnp.mean(x) for x in jax.tree.leaves(scores)]
    return {**state, 'seen': sum(means)}, batch

  def prepare(state, batch):
    inner, batch = grpo.prepare(state['inner'], batch)
    return {**state, 'inner': inner}, batch

  return grpo._replace(
    init=lambda: {'inner': grpo.init(), 'seen': jnp.zeros(())},
    prepare=prepare,
    measure=measure,
    statistics=beside.statistics,
    features=beside.features,
  )


class Program(NamedTuple):
  """A train step that is ready to run.

  Attributes:
    layout: of its batch.
    extras: what the batch was given for the method.
    step: `() -> seconds` of one step.
  """

  layout: str
  extras: list[str]
  step: Callable[[], float]


def make_program(
  w: Any, model: Any, params: Any, method: Method, layout: str, batch: Any
) -> Program:
  """The jitted train step of a method on a batch; raises Unfit."""
  prepare = library.preparation(w, model, method)
  batch, fed = feed(w, model, params, method, batch)
  batch = jax.block_until_ready(prepare(params, batch))
  step = library.train_step(w, model, method)
  state = training.init_state(jax.tree.map(jnp.copy, params), library.optimizer(w), method)

  def run():
    nonlocal state
    start = time.perf_counter()
    state, _ = jax.block_until_ready(step(state, batch))
    return time.perf_counter() - start

  return Program(layout, fed, run)


def feed(w: Any, model: Any, params: Any, method: Method, batch: Any) -> tuple[Any, list[str]]:
  """The batch with the extras that the method asks for, and their names; raises Unfit.

  A method says what it lacks in its error, so it is traced until there is none.
  """
  prepare, step = library.preparation(w, model, method), library.train_step(w, model, method)
  rng, fed = np.random.default_rng(w.seed), []
  while True:
    try:
      prepared = jax.eval_shape(prepare, params, batch)
      state = jax.eval_shape(lambda p: training.init_state(p, library.optimizer(w), method), params)
      jax.eval_shape(step, state, prepared)
    except Exception as error:
      asked = re.search(r"batch\.extras\[['\"](\w+)['\"]\]", str(error))
      name = asked.group(1) if asked else error.args[0] if isinstance(error, KeyError) else None
      if name not in FEED or name in fed:
        raise Unfit(_first_line(error)) from error
      fed.append(name)
      batch = jax.tree.map(
        functools.partial(_given, rng, name), batch, is_leaf=lambda x: isinstance(x, Batch)
      )
    else:
      return batch, fed


def _given(rng, name, batch):
  made = FEED[name](rng, batch.rewards.shape, batch.mask.shape[-1])
  array = jnp.asarray(made, jnp.int32 if made.dtype.kind == 'i' else jnp.float32)
  return dataclasses.replace(batch, extras=batch.extras | {name: array})


def fitting(w: Any, model: Any, params: Any, method: Method) -> tuple[Program, Any]:
  """The program of a method in the first layout that it takes, and that batch as it was.

  Raises:
    Unfit: with its reasons.
  """
  reasons = {}
  for layout, batch in layouts(w, method):
    try:
      return make_program(w, model, params, method, layout, batch), batch
    except Unfit as error:
      reasons[layout] = str(error)
  first, *others = reasons.values()
  alike = all(reason == first for reason in others)
  raise Unfit(first if alike else '; '.join(f'{k}: {v}' for k, v in reasons.items()))


def in_turn(*programs: Program, repeats: int, warmup: int) -> list[list[float]]:
  """Seconds of each, taken in turn after all were compiled and warmed up."""
  for _ in range(1 + warmup):
    for program in programs:
      program.step()
  rounds = [[program.step() for program in programs] for _ in range(repeats)]
  return [list(each) for each in zip(*rounds, strict=True)]


def measure() -> Iterator[dict[str, Any]]:
  """A result for each method, as it is found."""
  w = FLAGS.workload
  about = {'device': worker.device(), 'jax': jax.__version__}
  model = library.decoder(w)
  params = library.parameters(w, model)
  grpo: dict[tuple[str, ...], Program] = {}
  unknown = sorted(set(FLAGS.methods) - set(method_names()))
  if unknown:
    raise harness.Failed(f'There is no {", ".join(unknown)}. Methods: {", ".join(method_names())}.')
  for name in FLAGS.methods or method_names():
    try:
      method = build_method(w, name)
      program, batch = fitting(w, model, params, method)
    except Unfit as error:
      yield {'method': name, 'not_measured': str(error), **about}
      continue
    bases = []
    for beside in (None, method) if method.measure is not None else (None,):
      read = (*beside.statistics, *beside.features, 'measure') if beside else ()
      key = (program.layout, *read)
      if key not in grpo:
        plain = grpo_on(batch, beside)
        grpo[key] = make_program(w, model, params, plain, program.layout, batch)
      bases.append(grpo[key])
    own, base, *more = in_turn(program, *bases, repeats=FLAGS.repeats, warmup=FLAGS.warmup)
    ratios = [[a / b for a, b in zip(own, each, strict=True)] for each in (base, *more)]
    names = ('ratio', 'ratio_to_one_more_forward')
    yield {
      'method': name,
      **{name: harness.spread(each) for name, each in zip(names, ratios, strict=False)},
      'seconds': harness.spread(own),
      'seconds_of_grpo': harness.spread(base),
      'layout': program.layout,
      'measure': method.measure is not None,
      'statistics': sorted(method.statistics),
      'features': sorted(method.features),
      'reads': list(method.reads),
      'critic': bool(method.critic),
      'extras': program.extras,
      **about,
    }


def _first_line(error):
  return f'{type(error).__name__}: {error}'.splitlines()[0][:300]


if __name__ == '__main__':
  flags.DEFINE_list('methods', [], 'Methods by name; empty: all.')
  harness.main('methods', measure, model='quickstart')
