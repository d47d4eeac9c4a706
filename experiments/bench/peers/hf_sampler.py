"""`generate` of transformers; every prompt is given once for each of its samples."""

import serve
import torch
import with_trl


def build(w):
  """One rollout a repeat."""
  model = with_trl.model(w).eval()
  ids = torch.from_numpy(with_trl.tokens(w, w['prompts'], w['prompt_length']))
  ids = ids.repeat_interleave(w['group_size'], dim=0).to(with_trl.device())

  def run():
    with torch.no_grad():
      drawn = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        temperature=w['temperature'],
        top_k=0,
        top_p=1.0,
        max_new_tokens=w['max_new_tokens'],
      )
    return {'tokens': drawn[:, ids.shape[1] :].cpu().numel()}

  return run, with_trl.about('transformers')


if __name__ == '__main__':
  serve.serve(build, serve.workload())
