"""Whole steps of Tunix's GRPO learner."""

import queue
import threading

import numpy as np
import serve
import with_tunix


class Feed:
  """Batches that are handed out when they are asked for; a step ends when its successor is due."""

  def __init__(self):
    self.due, self.given = queue.Queue(), queue.Queue()

  def __iter__(self):
    return self

  def __next__(self):
    self.due.put(None)
    return self.given.get()


def build(w):
  """One step a repeat: the learner's loop runs beside, and waits for its next batch."""
  learner, feed = with_tunix.learner(w), Feed()
  texts = np.array(with_tunix.prompts(w))

  def train():
    try:
      learner.train(feed)
    except Exception as error:
      feed.due.put(error)

  threading.Thread(target=train, daemon=True).start()
  rows = w['prompts'] * w['group_size']

  def wait():
    error = feed.due.get()
    if error is not None:
      raise error

  wait()

  def run():
    feed.given.put({'prompts': texts})
    wait()
    return {'tokens': rows * (w['prompt_length'] + w['max_new_tokens'])}

  return run, with_tunix.about()


if __name__ == '__main__':
  serve.serve(build, serve.workload())
