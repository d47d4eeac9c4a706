"""Lp-Reg, as its code and as its paper have it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax

from rljax import advantages, aggregation, surrogates, vocabulary
from rljax.groups import per_group
from rljax.methods.combinators import stateless
from rljax.methods.reading import extra, statistic, tokens, trained
from rljax.types import Batch, Method, Term

Gate = Callable[..., jax.Array]


def lp_reg(
  *,
  kappa: float = 0.02,
  rho: float = 0.01,
  beta: float = 1.0,
  cap: float = 10.0,
  gate: Gate = surrogates.lp_gate,
) -> Method:
  """Low-probability regularisation: GRPO's advantages, and a KL penalty on unlikely tokens with a
  negative advantage that a min-p filtered policy still finds likely.

  It reads `batch.extras['old_proxy_logp']`, `vocabulary.proxy_logp` before the update.

  Args:
    kappa: the least probability of a word of the proxy, as a share of the largest.
    rho: share of the tokens that are candidates; the authors have 0.005 for 32B.
    beta: weight of the penalty.
    cap: the largest ratio of a positive advantage.
    gate: `surrogates.lp_gate` ranks the tokens with negative advantage, `lp_gate_of_all` all.

  Source: compute_policy_loss_lp_reg of the authors of arXiv 2510.03222, whose ranks are those of a
  microbatch, here of an optimizer step. `lp_reg_paper` is equation 6.
  """

  def policy(scores, batch):
    return surrogates.lp_reg(
      trained(scores.logp, batch),
      None if batch.old_logp is None else trained(batch.old_logp, batch),
      batch.advantages,
      _old_proxy(batch),
      batch.extras['lp_gate'],
      beta=beta,
      cap=cap,
    )

  return _gated(policy, gate, kappa, rho)


def lp_reg_paper(
  *, kappa: float = 0.02, rho: float = 0.01, beta: float = 1.0, cap: float = 10.0
) -> Method:
  """`lp_reg` with the paper's objective: candidates among all tokens, a KL over the vocabulary, and
  the ratio of negative advantages bounded as well.

  Args as in `lp_reg`; the penalty is `vocabulary.proxy_kl`, whose proxy is of the current policy.

  Source: arXiv 2510.03222, equations 5 and 6.
  """

  def policy(scores, batch):
    return surrogates.lp_reg_of_kl(
      trained(scores.logp, batch),
      None if batch.old_logp is None else trained(batch.old_logp, batch),
      batch.advantages,
      statistic(scores, batch, 'proxy_kl'),
      batch.extras['lp_gate'],
      beta=beta,
      cap=cap,
    )

  method = _gated(policy, surrogates.lp_gate_of_all, kappa, rho)
  kl = partial(vocabulary.proxy_kl, kappa=kappa)
  return method._replace(statistics={**method.statistics, 'proxy_kl': kl})


def _gated(policy, gate, kappa, rho):
  """A method of one term, with `batch.extras['lp_gate']` measured on each optimizer step."""

  def prepare(batch):
    return batch.replace(advantages=per_group(advantages.grpo, batch)(batch.rewards)[..., None])

  def measure(state, scores, batch):
    logp = trained(scores.logp, batch)
    found = gate(logp, _old_proxy(batch), batch.advantages, tokens(batch), share=rho)
    return state, batch.replace(extras={**batch.extras, 'lp_gate': found})

  return stateless(prepare, policy=Term(policy, aggregation.token_mean))._replace(
    measure=measure,
    statistics={'proxy_logp': partial(vocabulary.proxy_logp, kappa=kappa)},
    reads=('proxy_logp',),
  )


def _old_proxy(batch: Batch) -> jax.Array:
  meaning = 'the log-probability of every token under the filtered policy before the update'
  return trained(extra(batch, 'old_proxy_logp', meaning), batch)
