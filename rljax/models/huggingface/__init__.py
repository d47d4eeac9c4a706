"""Checkpoints of the Hugging Face format in and out: `config.json` and safetensors files.

Families: llama (SmolLM2 too), mistral, qwen2, qwen3, gemma2, gemma3_text. What a `config.json` asks
for and the decoder does not do is an error that names the field. Nothing is unpickled, and no code
of a checkpoint is run.
"""

from rljax.models.huggingface.adapter import save_adapter as save_adapter
from rljax.models.huggingface.families import FAMILIES as FAMILIES
from rljax.models.huggingface.fields import config_of as config_of
from rljax.models.huggingface.fields import fields_of as fields_of
from rljax.models.huggingface.folder import fetch as fetch
from rljax.models.huggingface.folder import is_checkpoint as is_checkpoint
from rljax.models.huggingface.folder import read_config as read_config
from rljax.models.huggingface.reading import load as load
from rljax.models.huggingface.writing import save as save
