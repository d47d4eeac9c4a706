"""The generators of the package reasoning-gym, each with its own scorer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rljax.data.listed import characters, listed, question_key, with_prompt
from rljax.data.task import Problem, Task, check_fractions
from rljax.verifiers.answers import last_tagged


def reasoning_gym(
  dataset: str = 'chain_sum',
  size: int = 1000,
  seed: int = 0,
  prompt: str = '@\n',
  p_right: float = 0.5,
  settings: Mapping[str, Any] | None = None,
) -> Task:
  """Problems of a generator of reasoning-gym, which scores completions as it sees fit.

  A completion answers in the last `<answer>...</answer>`; without it it scores 0. It is right where
  the generator's own score is 1.

  Generators tell answers, but no way to them: the warm start imitates answers alone, and of these
  the share `p_right` is right, the others are those of other problems. It teaches the format and
  leaves the rest to RL.

  The problems are the first `size` of the generator, distinct questions of which about a sixteenth
  is held out by a hash of the question. Difficulty is 1 throughout. The alphabet is that of prompts
  and answers; where it is more than Latin-1, the tokenizer must be that of a pretrained model.

  Args:
    dataset: name of a generator.
    size: how many problems it makes.
    seed: of the generator.
    prompt: what the model continues; the question stands in the place of its `@`. The package's own
      wording is in `reasoning_gym.utils.SYSTEM_PROMPTS`.
    p_right: share of right answers in demonstrations.
    settings: further arguments of the generator.
  Raises:
    ValueError: unknown generator or settings, a problem without an answer, no problems, or a share
      outside [0, 1].
    ImportError: reasoning-gym is not installed.
  """
  check_fractions(p_right=p_right)
  if size < 1:
    raise ValueError(f'size is {size}; it must be at least 1.')
  made = _make(dataset, size, seed, dict(settings or {}))
  entries: dict[str, Any] = {}
  for i in range(size):
    entry = made[i]
    if entry['answer'] is None:
      raise ValueError(f'{dataset} gives no answer to its problem {i}, so nothing can be learnt.')
    entries.setdefault(with_prompt(prompt, entry['question'].strip()), entry)
  problems = [
    Problem(text, str(entry['answer']), 1, question_key(entry['question']))
    for text, entry in entries.items()
  ]

  def solve(problem):
    return f'<answer>{problem.answer}</answer>'

  def demonstrate(rng, problem):
    right, other = rng.random() < p_right, problems[int(rng.integers(len(problems)))]
    return solve(problem if right else other)

  def score(problem, completion):
    found = extract(completion)
    if found is None:
      return 0.0
    return float(made.score_answer(answer=found, entry=entries[problem.prompt]))

  return Task(
    name='reasoning_gym',
    alphabet=characters([text for p in problems for text in (p.prompt, solve(p))]),
    problems=listed(problems),
    demonstrate=demonstrate,
    solve=solve,
    extract=extract,
    score=score,
    max_prompt=max(len(p.prompt) for p in problems),
    max_completion=max(len(solve(p)) for p in problems),
    right=lambda problem, completion: score(problem, completion) >= 1,
  )


def extract(completion: str) -> str | None:
  """What the last pair of answer tags holds; None without one, or if it holds nothing."""
  return last_tagged(completion) or None


def _make(dataset, size, seed, settings):
  try:
    import reasoning_gym as package
  except ImportError as error:
    raise ImportError(
      f"The task reasoning_gym needs the package: pip install 'rljax[verify]'. {error}"
    ) from error
  try:
    return package.create_dataset(dataset, size=size, seed=seed, **settings)
  except (AssertionError, TypeError, ValueError) as error:
    raise ValueError(f'reasoning-gym makes no {dataset!r} with {settings}: {error}') from error
