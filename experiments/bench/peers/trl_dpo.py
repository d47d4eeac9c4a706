"""TRL's DPO trainer, with a reference of its own."""

import datasets
import serve
import trl
import with_trl


def build(w):
  """One optimizer step a repeat, the reference's scores included."""
  pairs, new = w['pairs'], w['max_new_tokens']
  # The trainer adds the end token.
  ids = with_trl.tokens(w, 2 * pairs, new - 1)
  prompt = with_trl.tokens(w, pairs, w['prompt_length'])
  completions = [' ' + with_trl.text(row) for row in ids]
  trainer = trl.DPOTrainer(
    model=with_trl.model(w),
    ref_model=with_trl.model(w),
    args=trl.DPOConfig(
      **with_trl.settings(w),
      per_device_train_batch_size=pairs,
      max_length=w['prompt_length'] + new,
      beta=0.1,
    ),
    train_dataset=datasets.Dataset.from_dict(
      {
        'prompt': [with_trl.text(row) for row in prompt],
        'chosen': completions[:pairs],
        'rejected': completions[pairs:],
      }
    ),
    processing_class=with_trl.tokenizer(w, end=w['model']['vocab_size'] - 1),
  )
  step = with_trl.stepper(trainer)

  def run():
    step()
    return {'tokens': 2 * pairs * (w['prompt_length'] + new)}

  return run, with_trl.about()


if __name__ == '__main__':
  serve.serve(build, serve.workload())
