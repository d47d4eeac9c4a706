"""Installs rljax; `pip install -e .` is enough to train on CPU, extras add the rest."""

import pathlib

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent

setup(
  name='rljax',
  version='0.1.0',
  description='Policy optimisation of language models in JAX, as pure functions.',
  long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  python_requires='>=3.11',
  packages=find_packages(include=['rljax', 'rljax.*', 'experiments', 'experiments.*', 'configs']),
  package_data={'rljax': ['py.typed']},
  install_requires=[
    'absl-py>=2.1',
    'chex>=0.1.90',
    'flax>=0.12',
    'jax>=0.10',
    'matplotlib>=3.9',
    'ml-collections>=1.0',
    'numpy>=2.0',
    'optax>=0.2.6',
    'orbax-checkpoint>=0.11.30',
    'rich>=13.7',
    'tensorboardX>=2.6.2',
  ],
  extras_require={
    'cuda13': ['jax[cuda13]'],
    'tpu': ['jax[tpu]'],
    'tpu-aot': ['jax[tpu]'],  # brings the libtpu that goes with the jax
    'hf': ['datasets>=3.0', 'jinja2>=3.1', 'safetensors>=0.4', 'transformers>=4.50'],
    'notebooks': ['ipykernel>=6.29', 'nbclient>=0.10', 'nbformat>=5.10'],
    'verify': ['math-verify>=0.7', 'reasoning-gym>=0.1.20'],
    'qlora': ['qwix>=0.1.8'],
    'parity': ['peft>=0.15', 'torch>=2.6'],  # the tests against transformers and PEFT
    'peers': [
      'google-tunix>=0.1.7',
      'trl>=1.16',
      'accelerate',
      'datasets',
      'torch',
      'transformers',
    ],
    'test': [
      'hypothesis>=6.100',
      'ipykernel>=6.29',
      'jinja2>=3.1',
      'mypy>=1.15',
      'nbclient>=0.10',
      'nbformat>=5.10',
      'pytest>=8.0',
      'pytest-xdist>=3.6',
      'ruff>=0.12',
      'safetensors>=0.4',
      'transformers>=4.50',
    ],
  },
  entry_points={'console_scripts': ['rljax-train = experiments.train:run']},
)
