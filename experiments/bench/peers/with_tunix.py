"""What the benchmarks of google-tunix share: its Llama with random weights, a tokenizer of numbers,
a cluster on one device.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from tunix.generate import sampler as sampler_lib
from tunix.models.llama3 import model as llama
from tunix.rl import rl_cluster
from tunix.rl.grpo import grpo_learner
from tunix.rl.rollout import base_rollout
from tunix.sft import peft_trainer

PAD = 0


class Numbers:
  """A tokenizer whose text is the ids, with blanks between; its end token is no word."""

  def __init__(self, vocab_size: int):
    self._end = vocab_size

  def encode(self, text: str, **_) -> list[int]:
    """Ids of a text."""
    return [int(word) for word in text.split()]

  def decode(self, ids: list[int], **_) -> str:
    """Text of ids."""
    return ' '.join(map(str, ids))

  def bos_id(self) -> int:
    """0 stands for none."""
    return 0

  def eos_id(self) -> int:
    """An id that no draw can give."""
    return self._end

  def pad_id(self) -> int:
    """The padding."""
    return PAD


def about() -> dict[str, str]:
  """Versions and the device."""
  import importlib.metadata

  kind = jax.devices()[0].device_kind
  return {
    'version': importlib.metadata.version('google-tunix'),
    'jax': jax.__version__,
    'device': kind,
  }


def tokens(w: dict[str, Any], *shape: int) -> np.ndarray:
  """Random words without the padding."""
  return np.random.default_rng(w['seed']).integers(1, w['model']['vocab_size'], shape, np.int32)


def model(w: dict[str, Any]) -> llama.Llama3:
  """Tunix's Llama of the workload's sizes, in its type."""
  m = w['model']
  config = llama.ModelConfig(
    num_layers=m['num_layers'],
    vocab_size=m['vocab_size'],
    embed_dim=m['dim'],
    hidden_dim=m['ff_dim'],
    num_heads=m['num_heads'],
    head_dim=m['head_dim'],
    num_kv_heads=m['num_kv_heads'],
    rope_theta=int(m['rope_theta']),
    norm_eps=m['norm_eps'],
    weight_tying=m['tied'],
  )
  built = llama.Llama3(config, rngs=nnx.Rngs(w['seed']))
  graph, state = nnx.split(built)
  return nnx.merge(graph, jax.tree.map(lambda x: x.astype(m['dtype']), state))


def mesh() -> jax.sharding.Mesh:
  """One device under the axis names that the model's shardings use."""
  return jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ('fsdp', 'tp'))


def optimizer(w: dict[str, Any]) -> optax.GradientTransformation:
  """AdamW as on the other side: no clipping, no decay."""
  return optax.adamw(w['learning_rate'], b1=0.9, b2=0.95, eps=1e-8, weight_decay=0.0)


def sampler(w: dict[str, Any]) -> sampler_lib.Sampler:
  """The sampler that its rollouts use, with a cache of just the length."""
  m = w['model']
  cache = sampler_lib.CacheConfig(
    cache_size=w['prompt_length'] + w['max_new_tokens'],
    num_layers=m['num_layers'],
    num_kv_heads=m['num_kv_heads'],
    head_dim=m['head_dim'],
  )
  return sampler_lib.Sampler(model(w), Numbers(m['vocab_size']), cache)


def prompts(w: dict[str, Any]) -> list[str]:
  """Random prompts as text."""
  return [' '.join(map(str, row)) for row in tokens(w, w['prompts'], w['prompt_length'])]


def even(prompts: list[str], completions: list[str], **_) -> list[float]:
  """The reward: a completion's share of even words."""
  words = [[int(word) for word in text.split()] for text in completions]
  return [sum(word % 2 == 0 for word in each) / len(each) for each in words]


def learner(w: dict[str, Any], **algorithm: Any) -> grpo_learner.GRPOLearner:
  """Its GRPO learner with everything on one device and one update a batch.

  `algorithm` changes its GRPOConfig.
  """
  where = mesh()
  roles = (rl_cluster.Role.ACTOR, rl_cluster.Role.REFERENCE, rl_cluster.Role.ROLLOUT)
  cluster = rl_cluster.RLCluster(
    actor=model(w),
    reference=model(w) if w['beta'] else None,
    tokenizer=Numbers(w['model']['vocab_size']),
    cluster_config=rl_cluster.ClusterConfig(
      role_to_mesh=dict.fromkeys(roles, where),
      rollout_engine='vanilla',
      training_config=rl_cluster.RLTrainingConfig(
        actor_optimizer=optimizer(w),
        eval_every_n_steps=1 << 30,
        max_steps=1 << 30,
      ),
      rollout_config=base_rollout.RolloutConfig(
        max_tokens_to_generate=w['max_new_tokens'],
        max_prompt_length=w['prompt_length'],
        kv_cache_size=w['prompt_length'] + w['max_new_tokens'],
        temperature=w['temperature'],
        top_p=1.0,
      ),
    ),
  )
  settings = {'num_iterations': 1, 'beta': w['beta'], 'epsilon': 0.2} | algorithm
  config = grpo_learner.GRPOConfig(num_generations=w['group_size'], **settings)
  return grpo_learner.GRPOLearner(rl_cluster=cluster, algo_config=config, reward_fns=even)


def supervised(w: dict[str, Any]) -> tuple[peft_trainer.PeftTrainer, dict[str, jax.Array]]:
  """Its trainer and one batch of rows."""
  config = peft_trainer.TrainingConfig(eval_every_n_steps=1 << 30)
  trainer = peft_trainer.PeftTrainer(model(w), optimizer(w), config)
  trainer.is_managed_externally = True  # so that it stays open after a step
  length = w['sft_length']
  ids = jnp.asarray(tokens(w, w['sft_rows'], length))
  return trainer, {
    'input_tokens': ids,
    'input_mask': jnp.ones(ids.shape, bool),
    'positions': jnp.broadcast_to(jnp.arange(length), ids.shape),
    'attention_mask': jnp.broadcast_to(jnp.tri(length, dtype=bool), (len(ids), length, length)),
  }
