"""Trees of segments, each of which is a row: SPO's tree."""

from __future__ import annotations

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.build import Parts
from experiments.errors import UserError
from experiments.feeders.common import own_problems
from experiments.feeders.rounds import (
  check_rows,
  host_batch,
  make_round,
  padded,
  prompts_after,
  with_rows,
)
from experiments.rollout import Rollout
from rljax import advantages, training


def tree(config: ConfigDict, parts: Parts):
  """Replaces the batch by the edges of a tree for each problem: see `methods.spo_tree`.

  The first segments are those of the rollout's completions. Where the text goes on after one, it
  gets `feed.tree.branching` continuations of a segment each, and so on to `feed.tree.depth`, where
  they run to their ends. A row is a segment; its prompt is the text before it. Rewards are the
  values of the nodes, and extras `parent_value` and `parent_deviation`. A node that ended early has
  no children: their places are rows with `keep` 0. The authors also keep edges of earlier steps.

  Raises:
    UserError: the segments before the last leave no token for it.
  """
  check_rows(config, 'A tree')
  segment, depth, branching = (config.feed.tree[k] for k in ('segment', 'depth', 'branching'))
  before = segment * (depth - 1)
  last = config.rl.max_new_tokens - before
  if last < 1:
    raise UserError(
      f'feed.tree.depth ({depth}) with a feed.tree.segment of {segment} needs more than {before} '
      f'tokens, and rl.max_new_tokens is {config.rl.max_new_tokens}.'
    )
  lengths = [segment] * (depth - 1) + [last]
  rounds = [
    make_round(config, parts, count=branching, max_new_tokens=length, longest=before)
    for length in lengths[1:]
  ]
  width = max(lengths)

  @jax.jit
  def value(rewards, parent):
    values = advantages.tree_values(rewards, parent)
    return values, advantages.tree_deviations(values, parent)

  def feed(rollout, params, key):
    problems = own_problems(parts, rollout)
    prefix = [np.zeros(0, np.int32)] * len(problems)
    nodes = _first_segments(rollout, lengths[0])
    levels, prompts = [nodes], [_prompts(parts, problems, prefix, nodes, before)]
    for number, (go_on, length) in enumerate(zip(rounds, lengths[1:], strict=True)):
      prefix = [
        np.concatenate([text, ids[ids >= 0]])
        for text, group in zip(prefix, nodes['completion'], strict=True)
        for ids in group
      ]
      above = nodes['open'].reshape(-1)
      # Of a node without children only the prompt counts, and that no process waits for it.
      prefix = [text if going else text[:0] for text, going in zip(prefix, above, strict=True)]
      each = [problem for problem in problems for _ in range(len(above) // len(problems))]
      found = go_on(
        params, each, prefix, np.where(above, length, 1), jax.random.fold_in(key, number)
      )
      there = np.broadcast_to(above[:, None], found.truncated.shape)
      nodes = {
        'completion': np.where(there[..., None], found.completion, -1),
        'logp': np.where(there[..., None], found.logp, 0.0),
        'truncated': np.where(there, found.truncated, 0.0),
        'score': np.where(there, found.score, 0.0),
        'correct': np.where(there, found.correct, 0.0),
        'there': there,
        'open': there & (found.truncated > 0),
      }
      levels.append(nodes)
      prompts.append(_prompts(parts, each, prefix, nodes, before))
    return _edges(parts, rollout, levels, prompts, width, value)

  return feed


def _first_segments(rollout: Rollout, length: int) -> dict[str, np.ndarray]:
  """The nodes `[p, G]` where the rollout's completions have so many tokens, or have ended."""
  completion, logp, truncated, score = host_batch(
    rollout, 'completion', 'behavior_logp', 'truncated', 'rewards'
  )
  correct = training.sharding.to_local_rows(rollout.batch.extras['correct'])
  cut = (truncated > 0) | ((completion >= 0).sum(-1) > length)
  return {
    'completion': completion[..., :length],
    'logp': logp[..., :length],
    'truncated': cut.astype(np.float32),
    'score': np.where(cut, 0.0, score),
    'correct': np.where(cut, 0.0, correct),
    'there': np.ones_like(cut),
    'open': cut,
  }


def _prompts(parts, problems, prefixes, nodes, longest):
  """The prompts of the edges to nodes `[r, K]`, int32 `[r, K, W]`."""
  prompt = prompts_after(parts, problems, prefixes, longest)
  return np.broadcast_to(prompt, (*nodes['there'].shape, prompt.shape[-1]))


def _edges(parts, rollout, levels, prompts, width, value) -> Rollout:
  """The rows of a tree from its levels, whose nodes `[r, K]` are the children of those before."""
  count = len(levels[0]['there'])
  sizes = [nodes['there'].size for nodes in levels]
  starts = np.cumsum([count, *sizes])[:-1]  # of each level among the nodes, after the roots
  parents = [np.full(count, -1)]
  for nodes, start in zip(levels, [0, *starts], strict=False):
    above = start + np.arange(nodes['there'].size) // nodes['there'].shape[1]
    parents.append(np.where(nodes['there'].reshape(-1), above, -1))
  parent = np.concatenate(parents).astype(np.int32)

  def of_nodes(name):
    return np.concatenate([np.zeros(count), *(x[name].reshape(-1) for x in levels)])

  values, deviations = value(of_nodes('score').astype(np.float32), parent)
  correct, _ = value(of_nodes('correct').astype(np.float32), parent)

  def by_problem(x):
    """Numbers of the nodes as `[p, E]`: those of a level side by side, one level after another."""
    parts_of = np.split(np.asarray(x)[count:], np.cumsum(sizes)[:-1])
    return np.concatenate([part.reshape(count, -1) for part in parts_of], axis=1)

  def rows(name, fill):
    filled = [padded(nodes[name], width, fill).reshape(count, -1, width) for nodes in levels]
    return np.concatenate(filled, axis=1)

  completion = rows('completion', -1)
  prompt = np.concatenate([x.reshape(count, -1, x.shape[-1]) for x in prompts], axis=1)
  own = {
    'prompt': prompt,
    'completion': completion,
    'mask': (completion >= 0).astype(np.float32),
    'rewards': by_problem(values),
    'truncated': by_problem(of_nodes('truncated').astype(np.float32)),
    'behavior_logp': rows('logp', 0.0),
    'keep': by_problem(of_nodes('there').astype(np.float32)),
  }
  root = np.maximum(parent, 0)  # read of no root, and nothing counts for a place without a node
  extras = {
    'correct': by_problem(correct),
    'parent_value': by_problem(np.asarray(values)[root]),
    'parent_deviation': by_problem(np.asarray(deviations)[root]),
  }
  return with_rows(parts, rollout, own, extras)
