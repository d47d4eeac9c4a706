"""Tunix's sampler; every prompt is given once for each of its samples, as its rollouts do."""

import serve
import with_tunix


def build(w):
  """One rollout a repeat."""
  sampler = with_tunix.sampler(w)
  texts = [text for text in with_tunix.prompts(w) for _ in range(w['group_size'])]
  step = 0

  def run():
    nonlocal step
    step += 1
    drawn = sampler(
      input_strings=texts,
      max_generation_steps=w['max_new_tokens'],
      max_prompt_length=w['prompt_length'],
      temperature=w['temperature'],
      top_p=1.0,
      seed=step,
    )
    return {'tokens': sum(len(row) for row in drawn.tokens)}

  return run, with_tunix.about()


if __name__ == '__main__':
  serve.serve(build, serve.workload())
