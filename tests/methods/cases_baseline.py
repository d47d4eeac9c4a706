"""The methods that every stack has."""

import loops
from harness import Case, Expected, T

from rljax import methods


def slow(fn, **kwargs):
  """A function of `loops` as `Case.slow`."""

  def expected(p):
    loss, gradient, _, size = fn(p, **kwargs)
    return Expected(loss, {'logp': gradient}, size)

  return expected


CASES = {
  'reinforce': Case(methods.reinforce(), slow(loops.reinforce)),
  'rloo': Case(methods.rloo(), slow(loops.rloo)),
  'grpo': Case(methods.grpo(), slow(loops.grpo)),
  'grpo, clip-higher': Case(
    methods.grpo(clip_low=0.1, clip_high=0.5), slow(loops.grpo, low=0.1, high=0.5)
  ),
  'dr_grpo': Case(methods.dr_grpo(max_length=9), slow(loops.dr_grpo, max_length=9)),
  'dapo': Case(
    methods.dapo(max_length=T, overlong_buffer=3),
    slow(loops.dapo, max_length=T, overlong_buffer=3),
  ),
  'reinforce_pp': Case(methods.reinforce_pp(), slow(loops.reinforce_pp)),
  'reinforce_pp, kl, gamma': Case(
    methods.reinforce_pp(kl_coef=0.3, gamma=0.8), slow(loops.reinforce_pp, kl_coef=0.3, gamma=0.8)
  ),
  'gspo': Case(methods.gspo(), slow(loops.gspo)),
  'gspo, wide clip': Case(
    methods.gspo(clip_low=0.5, clip_high=0.5), slow(loops.gspo, low=0.5, high=0.5)
  ),
}
