"""METHODS.md: a row for every method of the list, whose functions and tests exist."""

import csv
import functools
import importlib
import inspect
import pathlib
import re

import pytest

from rljax import methods
from rljax.types import Method

ROOT = pathlib.Path(__file__).parents[1]


def listed():
  """The methods that the page must have, `methods_list.tsv` less what is a mere note."""
  with (ROOT / 'tests/methods_list.tsv').open() as file:
    rows = csv.DictReader(file, delimiter='\t')
    return [row['method'] for row in rows if row['kind'] != 'note']


@functools.cache
def page():
  """{name: cells of its row}; a name with a semicolon stands there in short."""
  found = {}
  for line in (ROOT / 'METHODS.md').read_text().splitlines():
    cells = [cell.strip() for cell in line.strip().strip('|').split('|')]
    if line.startswith('| ') and len(cells) == 5 and cells[0] not in ('card', '---'):
      for name in cells[0].split('; '):
        found[name] = cells
  return found


def resolve(path):
  """The object that a dotted path names."""
  parts = path.split('.')
  for cut in range(len(parts), 0, -1):
    try:
      found = importlib.import_module('.'.join(parts[:cut]))
    except ModuleNotFoundError:
      continue
    return functools.reduce(getattr, parts[cut:], found)
  raise ModuleNotFoundError(path)


def is_listed(path):
  """Whether this is a function that its package offers under the same name."""
  package, name = '.'.join(path.split('.')[:2]), path.rpartition('.')[2]
  found = resolve(path)
  return callable(found) and getattr(importlib.import_module(package), name) is found


def builds_a_method(factory):
  """Whether keyword arguments alone make a method of this."""
  if not inspect.isfunction(factory):
    return False
  signature = inspect.signature(factory)
  kinds = {parameter.kind for parameter in signature.parameters.values()}
  return signature.return_annotation in (Method, 'Method') and kinds <= {
    inspect.Parameter.KEYWORD_ONLY
  }


@pytest.mark.parametrize('name', listed())
def test_a_row_names_functions_and_tests_that_exist(name):
  _, functions, method, tests, _ = page().get(name) or page()[name.partition(' (')[0]]
  paths = re.findall(r'`([\w.]+)`', functions)
  assert paths and all(is_listed(path) for path in paths)
  for path in re.findall(r'`([\w.]+)`', method):
    assert path.startswith('rljax.methods.') and is_listed(path)
  references = re.findall(r'`(tests/[\w/]+\.py)::(\w+)`', tests)
  assert references
  for file, test in references:
    assert f'def {test}(' in (ROOT / file).read_text(), f'{file} has no {test}'


def test_the_code_of_the_page_runs():
  (block,) = re.findall(r'```python\n(.*?)```', (ROOT / 'METHODS.md').read_text(), re.DOTALL)
  names = {}
  exec(compile(block, 'METHODS.md', 'exec'), names)
  assert isinstance(names['method'], Method)
  assert names['loss'].shape == (1, 3, 5) and names['loss'][0, 0, 0] > 0 > names['loss'][0, 2, 0]


def test_every_method_by_name_is_on_the_page():
  written = [
    resolve(path) for cells in page().values() for path in re.findall(r'`([\w.]+)`', cells[2])
  ]
  factories = {name: f for name, f in vars(methods).items() if builds_a_method(f)}
  assert 'grpo' in factories and 'rloo' in factories
  assert [name for name, factory in factories.items() if factory not in written] == []
