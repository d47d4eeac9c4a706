"""ProGRPO."""

from __future__ import annotations

from functools import partial

from rljax import advantages, aggregation
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.reading import extra, sampled_logp
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Method


def progrpo(
  *,
  alpha: float,
  share: float = 0.2,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Method:
  """GRPO that adds how much surer the policy is of the prompt than of its answer.

  Reads `batch.extras['prompt_confidence']`, `[*N]`: `advantages.confidence` of the prompt's own
  tokens, from their log-probabilities under the policy before the update. The answer's confidence
  is computed here, from `old_logp`, else from the sampler's.

  Args:
    alpha: strength; the paper's value is not known here.
    share: the least likely part of the tokens, of which the confidence is.
    clip_low: clip range of the ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2602.05281, a reconstruction; see `advantages.confidence` and `advantages.progrpo`.
  """
  estimate = partial(advantages.progrpo, alpha=alpha)

  def prepare(batch):
    prompt = extra(batch, 'prompt_confidence', 'how sure the policy is of the prompt')
    answer = advantages.confidence(sampled_logp(batch), batch.mask, share=share)
    advantage = per_group(estimate, batch)(batch.rewards, prompt, answer)
    return batch.replace(advantages=advantage[..., None])

  terms = policy_terms(token_ratio, clip_low, clip_high, aggregation.sequence_mean)
  return stateless(prepare, **terms)._replace(reads=('logp',), needs=('prompt_confidence',))
