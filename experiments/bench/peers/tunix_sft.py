"""Tunix's supervised trainer."""

import serve
import with_tunix


def build(w):
  """One optimizer step a repeat."""
  trainer, rows = with_tunix.supervised(w)

  def run():
    trainer.train([rows])
    return {'tokens': rows['input_tokens'].size}

  return run, with_tunix.about()


if __name__ == '__main__':
  serve.serve(build, serve.workload())
