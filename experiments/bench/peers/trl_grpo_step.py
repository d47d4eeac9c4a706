"""Whole steps of TRL's GRPO trainer, with the generation of transformers."""

import tempfile

import datasets
import serve
import transformers
import trl
import with_trl


def even(completions, **_):
  """The reward: a completion's share of even words."""
  words = [[int(word) for word in text.split()] for text in completions]
  return [sum(word % 2 == 0 for word in each) / max(len(each), 1) for each in words]


def build(w):
  """One step a repeat."""
  rows = w['prompts'] * w['group_size']
  texts = [with_trl.text(row) for row in with_trl.tokens(w, w['prompts'], w['prompt_length'])]
  # With a penalty the trainer loads its reference from where the model came from.
  folder = tempfile.mkdtemp()
  with_trl.model(w).save_pretrained(folder)
  model = transformers.AutoModelForCausalLM.from_pretrained(folder).to(with_trl.device())
  trainer = trl.GRPOTrainer(
    model=model,
    reward_funcs=even,
    args=trl.GRPOConfig(
      **with_trl.settings(w),
      per_device_train_batch_size=rows,
      num_generations=w['group_size'],
      max_completion_length=w['max_new_tokens'],
      temperature=w['temperature'],
      beta=w['beta'],
      loss_type='grpo',
    ),
    train_dataset=datasets.Dataset.from_dict({'prompt': texts}),
    processing_class=with_trl.tokenizer(w, end=w['model']['vocab_size']),
  )
  step = with_trl.stepper(trainer)

  def run():
    step()
    return {'tokens': rows * (w['prompt_length'] + w['max_new_tokens'])}

  return run, with_trl.about()


if __name__ == '__main__':
  serve.serve(build, serve.workload())
