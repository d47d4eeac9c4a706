"""TRL's supervised trainer."""

import datasets
import serve
import trl
import with_trl


def build(w):
  """One optimizer step a repeat."""
  rows, length = w['sft_rows'], w['sft_length']
  trainer = trl.SFTTrainer(
    model=with_trl.model(w),
    args=trl.SFTConfig(
      **with_trl.settings(w), per_device_train_batch_size=rows, max_length=length, packing=False
    ),
    train_dataset=datasets.Dataset.from_dict({'input_ids': with_trl.tokens(w, rows, length)}),
    processing_class=with_trl.tokenizer(w, end=w['model']['vocab_size'] - 1),
  )
  step = with_trl.stepper(trainer)

  def run():
    step()
    return {'tokens': rows * length}

  return run, with_trl.about()


if __name__ == '__main__':
  serve.serve(build, serve.workload())
