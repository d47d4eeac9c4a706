"""Who may import whom: the layers of the library, read from the source of every module."""

import ast
import pathlib
import subprocess
import sys

import pytest

import rljax

ROOT = pathlib.Path(__file__).parents[1]
MODULES = sorted((ROOT / 'rljax').rglob('*.py'))

ARRAYS = {
  'advantages',
  'aggregation',
  'balance',
  'controllers',
  'curricula',
  'divergences',
  'evaluation',
  'groups',
  'merging',
  'preference',
  'ratios',
  'reward_weights',
  'selection',
  'shaping',
  'stats',
  'surrogates',
  'token_weights',
  'vocabulary',
}
RECORDS = ARRAYS | {'types'}
HOST = {'checkpoints', 'data', 'verifiers'}
MAY_IMPORT = {
  **dict.fromkeys(ARRAYS, ARRAYS),
  'types': set(),
  'methods': RECORDS | {'methods'},
  'models': RECORDS | {'models'},
  'sampling': RECORDS | {'models', 'sampling'},
  'training': RECORDS | {'methods', 'models', 'training'},
  **dict.fromkeys(HOST, RECORDS | HOST),
}
LIBRARIES_OF_ARRAYS = {'jax', 'chex', *sys.stdlib_module_names}


def imported(source, package):
  """Absolute names of all that a source imports, anywhere in it; relative to `package`."""
  names = set()
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      parts = package.split('.')
      base = parts[: len(parts) - node.level + 1] if node.level else []
      base = '.'.join(base + ([node.module] if node.module else []))
      names |= {f'{base}.{alias.name}' for alias in node.names}
  return names


def of_module(path):
  return imported(path.read_text(encoding='utf-8'), '.'.join(path.relative_to(ROOT).parts[:-1]))


def within_rljax(names):
  return {name.split('.')[1] for name in names if name.startswith('rljax.')}


def part(path):
  """The part of rljax that a module belongs to; None for rljax itself."""
  first = pathlib.Path(path.relative_to(ROOT / 'rljax').parts[0]).stem
  return None if first == '__init__' else first


def identity(path):
  return str(path.relative_to(ROOT))


def test_every_part_has_its_place_in_the_picture_and_is_public():
  assert {part(path) for path in MODULES} - {None} == set(MAY_IMPORT)
  assert set(rljax.__all__) == set(MAY_IMPORT)


@pytest.mark.parametrize('path', MODULES, ids=identity)
def test_a_module_imports_only_the_layers_below_it(path):
  found = within_rljax(of_module(path))
  assert found <= MAY_IMPORT.get(part(path), set())


@pytest.mark.parametrize('path', MODULES, ids=identity)
def test_the_library_knows_nothing_of_its_experiments(path):
  libraries = {name.split('.')[0] for name in of_module(path)}
  assert not libraries & {'experiments', 'configs', 'notebooks', 'tests'}


@pytest.mark.parametrize('path', [p for p in MODULES if part(p) in ARRAYS], ids=identity)
def test_the_array_layer_imports_jax_and_chex_only(path):
  libraries = {name.split('.')[0] for name in of_module(path)} - {'rljax'}
  assert libraries <= LIBRARIES_OF_ARRAYS


def test_rljax_itself_imports_the_standard_library_only():
  names = of_module(ROOT / 'rljax' / '__init__.py')
  assert {name.split('.')[0] for name in names} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize(
  ('source', 'names'),
  [
    ('from rljax import models', {'rljax.models'}),
    ('import rljax.models.decoder as d', {'rljax.models.decoder'}),
    ('def f():\n  from ..models import decoder', {'rljax.models.decoder'}),
    ('from .. import models', {'rljax.models'}),
    ('from . import group', {'rljax.advantages.group'}),
    ('from experiments.train import run', {'experiments.train.run'}),
  ],
)
def test_imports_are_found_in_every_form(source, names):
  assert imported(source, 'rljax.advantages') == names


def in_a_fresh_process(code):
  result = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT, check=False
  )
  assert result.returncode == 0, result.stderr
  return result.stdout.split()


def test_importing_rljax_loads_neither_jax_nor_its_own_parts():
  code = (
    "import sys, rljax; print(*[m for m in sys.modules if m.split('.')[0] in ('jax', 'rljax')])"
  )
  assert in_a_fresh_process(code) == ['rljax']


def test_the_array_layer_starts_no_device_and_loads_no_model_library():
  code = f"""
import sys, rljax
for name in {sorted(ARRAYS)}:
  getattr(rljax, name)
from jax._src import xla_bridge
print(xla_bridge.backends_are_initialized())
heavy = ('flax', 'optax', 'orbax', 'transformers', 'torch')
print(*[m for m in sys.modules if m in heavy])
"""
  assert in_a_fresh_process(code) == ['False']


def test_parts_come_with_their_first_use_and_unknown_ones_are_explained():
  assert rljax.advantages.grpo.__module__ == 'rljax.advantages.group'
  assert set(rljax.__all__) <= set(dir(rljax))
  with pytest.raises(AttributeError, match="Did you mean 'advantages'"):
    rljax.advantage  # noqa: B018
