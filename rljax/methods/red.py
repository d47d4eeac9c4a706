"""RED: learning from demonstrations beside rollouts, weighted by what each does to the entropy."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rljax import advantages, aggregation, balance, stats, surrogates
from rljax.groups import per_group
from rljax.methods.reading import extra
from rljax.methods.terms import policy_terms, token_ratio
from rljax.types import Batch, Method, Term


def red(
  *,
  sft_coef: float = 0.1,
  limit: float = 5.0,
  decay: float = 0.99,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Method:
  """Recall-extend dynamics: GRPO on rollouts, and a policy loss of demonstrations that imitates
  where rollouts fail.

  Batches and scores are dicts of `rollouts` and `demonstrations` of the same prompts, as in
  `together`: in one layout, rows with the same group ids. `rollouts.extras['correct']` is above 0
  where an answer is right. A demonstration's advantage is that of its reward among the rollouts',
  so it is 0 where all of them are right too. The weight of its loss follows the mean entropies on
  both batches, once per optimizer step (`balance.entropy_balance`); the method's state is their
  averages.

  Args:
    sft_coef: weight of the demonstrations' loss before the entropies' part.
    limit: the largest part of the entropies.
    decay: of the entropies' averages.
    clip_low: clip range of the rollouts' ratio below 1.
    clip_high: clip range above 1.

  Source: arXiv 2508.16677. A reconstruction: the weight follows a derivative implementation
    (Recall-Extend-Dynamics-CoDA), the loss of demonstrations is `surrogates.policy_shift`, and that
    advantages compare them with the rollouts is ours.
  """

  def prepare(batches):
    rollouts, demonstrations = batches['rollouts'], batches['demonstrations']
    correct = _correct(rollouts)
    own = per_group(advantages.grpo, rollouts)(rollouts.rewards)
    among = _beside(advantages.grpo, rollouts, demonstrations)
    accuracy = _beside(_accuracy, rollouts, demonstrations)
    absent = jnp.zeros_like(demonstrations.rewards)
    extras = {
      **demonstrations.extras,
      'accuracy': accuracy((correct, absent), (jnp.ones_like(correct), absent)),
    }
    return {
      'rollouts': rollouts.replace(advantages=own[..., None]),
      'demonstrations': demonstrations.replace(
        advantages=among((rollouts.rewards, demonstrations.rewards))[..., None], extras=extras
      ),
    }

  def offline(scores, batches):
    batch = batches['demonstrations']
    trained = batch.mask > 0
    logp = jnp.where(trained, scores['demonstrations'].logp, 0.0)
    old_logp = None if batch.old_logp is None else jnp.where(trained, batch.old_logp, 0.0)
    return surrogates.policy_shift(logp, old_logp, batch.advantages, batch.extras['accuracy'])

  def coef(batches):
    return sft_coef * batches['demonstrations'].constants['entropy_weight']

  return _method(prepare, offline, coef, limit, decay, clip_low, clip_high)


def red_sft(
  *,
  sft_coef: float = 0.1,
  limit: float = 5.0,
  decay: float = 0.99,
  clip_low: float = 0.2,
  clip_high: float = 0.2,
) -> Method:
  """`red` with plain imitation: the accuracy of the batch's rollouts is part of the weight.

  The weight of the mean negative log-likelihood of the demonstrations is `sft_coef` times
  `balance.entropy_balance` times `balance.accuracy_weight`. Demonstrations need no reward, and need
  not be of the rollouts' prompts. All else as in `red`.

  Args:
    sft_coef: weight of the imitation before the other parts.
    limit: the largest value of either part.
    decay: of the entropies' averages.
    clip_low: clip range of the rollouts' ratio below 1.
    clip_high: clip range above 1.

  Source: Recall-Extend-Dynamics-CoDA, a derivative of arXiv 2508.16677; it holds the product of the
    two parts to [1, limit**2] as well.
  """

  def prepare(batches):
    rollouts, demonstrations = batches['rollouts'], batches['demonstrations']
    adv = per_group(advantages.grpo, rollouts)(rollouts.rewards)
    share = stats.mean((_correct(rollouts) > 0).astype(rollouts.rewards.dtype))
    weight = balance.accuracy_weight(share, limit=limit)
    constants = {**demonstrations.constants, 'accuracy_weight': weight}
    return {
      'rollouts': rollouts.replace(advantages=adv[..., None]),
      'demonstrations': demonstrations.replace(constants=constants),
    }

  def offline(scores, batches):
    trained = batches['demonstrations'].mask > 0
    return -jnp.where(trained, scores['demonstrations'].logp, 0.0)

  def coef(batches):
    weights = batches['demonstrations'].constants
    return sft_coef * weights['entropy_weight'] * weights['accuracy_weight']

  return _method(prepare, offline, coef, limit, decay, clip_low, clip_high)


def _method(prepare, offline, coef, limit, decay, clip_low, clip_high):
  """GRPO of `rollouts` and the loss `offline` of `demonstrations`."""
  controller = balance.entropy_balance(limit=limit, decay=decay)
  online = policy_terms(token_ratio, clip_low, clip_high, aggregation.sequence_mean)

  def measure(state, scores, batches):
    entropies = [_entropy(scores[name], batches[name]) for name in ('demonstrations', 'rollouts')]
    state, weight = controller.update(state, jnp.stack(entropies))
    batch = batches['demonstrations']
    constants = {**batch.constants, 'entropy_weight': weight}
    return state, {**batches, 'demonstrations': batch.replace(constants=constants)}

  def of_rollouts(term):
    return Term(
      lambda scores, batches: term.value(scores['rollouts'], batches['rollouts']),
      lambda batches: term.weights(batches['rollouts']),
      term.coef,
    )

  terms = {name: of_rollouts(term) for name, term in online.items()}
  terms['offline'] = Term(
    offline, lambda batches: aggregation.token_mean(batches['demonstrations']), coef
  )
  return Method(
    controller.init,
    lambda state, batches: (state, prepare(batches)),
    terms,
    measure,
    needs=('demonstrations',),
  )


def _correct(rollouts):
  return extra(rollouts, 'correct', '[*N], above 0 where the answer is right')


def _entropy(scores, batch):
  """Mean entropy of the trained tokens, in nats."""
  weights = aggregation.token_mean(batch)
  entropy = jax.lax.stop_gradient(scores.entropy)
  return jnp.sum(jnp.where(weights > 0, weights * entropy, 0.0))


def _accuracy(correct, answered, where=None):
  """Share of right answers among those that are rollouts, for every member of a group."""
  real = stats.is_real(answered, where) & (answered > 0)
  right = (correct > 0).astype(stats.as_float(correct).dtype)
  return jnp.broadcast_to(stats.mean(right, real, axis=-1, keepdims=True), correct.shape)


def _beside(fn, rollouts, demonstrations):
  """A group function over rollouts and demonstrations together, for the demonstrations.

  It takes pairs of arrays, of the rollouts and of the demonstrations.
  """
  if rollouts.group is None:

    def call(*pairs):
      return fn(*(jnp.concatenate(pair, axis=-1) for pair in pairs))[..., rollouts.mask.shape[-2] :]

    return call
  size = rollouts.group_shape[1] + demonstrations.group_shape[1]
  both = Batch(
    group=jnp.concatenate([rollouts.group, demonstrations.group]),
    group_shape=(rollouts.group_shape[0], size),
  )

  def call_rows(*pairs):
    joined = (jnp.concatenate(pair) for pair in pairs)
    return per_group(fn, both)(*joined)[rollouts.group.shape[0] :]

  return call_rows
