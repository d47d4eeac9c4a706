"""What the benchmarks of TRL and of transformers share: a Llama with random weights, a tokenizer of
numbers, and a trainer's loop that goes one step at a time.
"""

from __future__ import annotations

import importlib.metadata
import os
import queue
import tempfile
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers

PAD = 0


def about(package: str = 'trl') -> dict[str, str]:
  """Versions and the device."""
  kind = torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu'
  version = importlib.metadata.version
  return {'version': version(package), 'torch': version('torch'), 'device': kind}


def device() -> str:
  """Where the model goes."""
  return 'cuda' if torch.cuda.is_available() else 'cpu'


def tokens(w: dict[str, Any], *shape: int) -> np.ndarray:
  """Random words without the padding and the last one, which may be an end token."""
  top = w['model']['vocab_size'] - 1
  return np.random.default_rng(w['seed']).integers(1, top, shape, np.int64)


def text(ids: np.ndarray) -> str:
  """The text of ids."""
  return ' '.join(map(str, ids))


def model(w: dict[str, Any]) -> Any:
  """Llama of the workload's sizes, in its type; nothing ends a completion."""
  if hasattr(os, 'sched_getaffinity'):
    torch.set_num_threads(len(os.sched_getaffinity(0)))
  torch.manual_seed(w['seed'])
  m = w['model']
  config = transformers.LlamaConfig(
    vocab_size=m['vocab_size'],
    hidden_size=m['dim'],
    intermediate_size=m['ff_dim'],
    num_hidden_layers=m['num_layers'],
    num_attention_heads=m['num_heads'],
    num_key_value_heads=m['num_kv_heads'],
    head_dim=m['head_dim'],
    rope_parameters={'rope_type': 'default', 'rope_theta': m['rope_theta']},
    rms_norm_eps=m['norm_eps'],
    tie_word_embeddings=m['tied'],
    max_position_embeddings=8192,
    bos_token_id=None,
    eos_token_id=None,
    pad_token_id=PAD,
  )
  built: torch.nn.Module = transformers.LlamaForCausalLM(config)
  return built.to(device=device(), dtype=getattr(torch, m['dtype']))


def tokenizer(w: dict[str, Any], *, end: int) -> transformers.PreTrainedTokenizerFast:
  """A tokenizer whose text is the ids, with blanks between; `end` is the id of its end token."""
  words = {str(i): i for i in range(w['model']['vocab_size']) if i != end}
  built = tokenizers.Tokenizer(tokenizers.models.WordLevel({**words, '<end>': end}, unk_token='1'))
  built.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
  return transformers.PreTrainedTokenizerFast(
    tokenizer_object=built, pad_token=str(PAD), eos_token='<end>', unk_token='1'
  )


def settings(w: dict[str, Any]) -> dict[str, Any]:
  """Arguments of every trainer: AdamW as on the other side, nothing written, nothing recomputed."""
  return {
    'output_dir': tempfile.mkdtemp(),
    'max_steps': 1 << 20,
    'learning_rate': w['learning_rate'],
    'lr_scheduler_type': 'constant',
    'adam_beta2': 0.95,
    'max_grad_norm': 0.0,
    'gradient_checkpointing': False,
    'bf16': w['model']['dtype'] == 'bfloat16',
    'use_cpu': device() == 'cpu',
    'save_strategy': 'no',
    'logging_strategy': 'no',
    'report_to': 'none',
    'disable_tqdm': True,
  }


class _Turns(transformers.TrainerCallback):
  """Holds a training loop before each step until it is that step's turn."""

  def __init__(self):
    self.turns, self.ends = queue.Queue(), queue.Queue()

  def on_step_begin(self, *_, **__):
    self.turns.get()

  def on_step_end(self, *_, **__):
    self.ends.put(None)


def stepper(trainer: transformers.Trainer) -> Callable[[], None]:
  """A function that lets `trainer.train()`, which runs beside, go one step."""
  turns = _Turns()
  trainer.add_callback(turns)

  def train():
    try:
      trainer.train()
    except Exception as error:
      turns.ends.put(error)

  threading.Thread(target=train, daemon=True).start()

  def step():
    turns.turns.put(None)
    error = turns.ends.get()
    if error is not None:
      raise error
    if torch.cuda.is_available():
      torch.cuda.synchronize()

  return step
