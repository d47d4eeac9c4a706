"""Tunix's DPO trainer, with a reference of its own."""

import serve
import with_tunix
from tunix.sft.dpo import dpo_trainer


def build(w):
  """One optimizer step a repeat, the reference's scores included."""
  config = dpo_trainer.DPOTrainingConfig(eval_every_n_steps=1 << 30, beta=0.1)
  model, reference = with_tunix.model(w), with_tunix.model(w)
  trainer = dpo_trainer.DPOTrainer(model, reference, with_tunix.optimizer(w), config)
  trainer.is_managed_externally = True
  pairs, new = w['pairs'], w['max_new_tokens']
  ids = with_tunix.tokens(w, 2 * pairs, new)
  prompt = with_tunix.tokens(w, pairs, w['prompt_length'])
  batch = dpo_trainer.TrainingInput(
    prompt_ids=prompt,
    prompt_mask=prompt > 0,
    chosen_ids=ids[:pairs],
    chosen_mask=ids[:pairs] > 0,
    rejected_ids=ids[pairs:],
    rejected_mask=ids[pairs:] > 0,
  )

  def run():
    trainer.train([batch])
    return {'tokens': 2 * pairs * (w['prompt_length'] + new)}

  return run, with_tunix.about()


if __name__ == '__main__':
  serve.serve(build, serve.workload())
