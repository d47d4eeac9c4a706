"""GRPO-S: advantages scaled by how hard a prompt's data are and how the model responds to them."""

from __future__ import annotations

from rljax import advantages
from rljax.methods.combinators import inner_draws
from rljax.methods.grpo import grpo
from rljax.methods.reading import extra, kept
from rljax.types import Method


def grpo_s(
  *,
  categories: int,
  gap_low: float,
  gap_high: float,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
  eps: float = 1e-6,
) -> Method:
  """GRPO on the reward model of a prompt's category, with `with_dynamic_scaling`.

  Args:
    categories: how many categories there are.
    gap_low: gaps below are outliers.
    gap_high: gaps above are outliers.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.
    eps: added to the group's deviation.

  Source: GRPO-S (DR-IRL), a reconstruction; see `with_dynamic_scaling`.
  """
  return with_dynamic_scaling(
    grpo(clip_low=clip_low, clip_high=clip_high, eps=eps),
    categories=categories,
    gap_low=gap_low,
    gap_high=gap_high,
  )


_MEANS = ('difference', 'gap', 'typical_gap')


def with_dynamic_scaling(
  method: Method, *, categories: int, gap_low: float, gap_high: float
) -> Method:
  """The method with its advantages times hardness times responsiveness.

  Hardness is `sigmoid(difference)` over the sigmoid of the category's mean difference. The
  responsiveness of a category is the sigmoid of its mean reward gap without outliers, over that of
  its mean gap with them; 1 if all are outliers. The means run over all kept sequences seen so far.

  Reads of `batch.extras`, all `[*N]`: 'difference', 1 less `advantages.clause_similarity` of
  demonstration and completion; 'reward_gap', the demonstration's reward less the completion's;
  'category', in `[0, categories)`.

  Args:
    method: any method.
    categories: how many categories there are.
    gap_low: gaps below are outliers.
    gap_high: gaps above are outliers; the paper's thresholds are not known here.

  Source: "Inverse Reinforcement Learning with Dynamic Reward Scaling for LLM Alignment", a
  reconstruction from an account of the paper; one responsiveness for each category is its reading.
  """

  def init():
    # An array each: a train step is given its state to keep, and no buffer twice.
    means = {name: advantages.init_category_means(categories) for name in _MEANS}
    return {'inner': method.init(), **means}

  def prepare(state, batch):
    difference = extra(batch, 'difference', '1 less the similarity to the demonstration')
    gap = extra(batch, 'reward_gap', 'the reward of the demonstration less that of the completion')
    category = extra(batch, 'category', 'the number of the kind of prompt')
    keep = kept(batch)
    inlier = keep * ((gap >= gap_low) & (gap <= gap_high))

    update, mean = advantages.update_category_means, advantages.category_mean
    differences = update(state['difference'], difference, category, keep)
    gaps = update(state['gap'], gap, category, keep)
    typical_gaps = update(state['typical_gap'], gap, category, inlier)

    hardness = advantages.sigmoid_ratio(difference, mean(differences, category, difference))
    mean_gap = mean(gaps, category, gap)
    responsiveness = advantages.sigmoid_ratio(mean(typical_gaps, category, mean_gap), mean_gap)
    inner, batch = method.prepare(state['inner'], batch)
    state = {'inner': inner, 'difference': differences, 'gap': gaps, 'typical_gap': typical_gaps}
    weight = hardness * responsiveness
    return state, batch.replace(advantages=batch.advantages * weight[..., None])

  needs = (*method.needs, 'category', 'difference', 'reward_gap')
  return method._replace(init=init, prepare=prepare, needs=needs, draws=inner_draws(method))
