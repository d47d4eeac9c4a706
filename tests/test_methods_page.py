"""METHODS.md: a row for every method of the list, whose functions and tests exist."""

import csv
import functools
import importlib
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
  """{name: cells of its row}."""
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


@pytest.mark.parametrize('name', listed())
def test_a_row_names_functions_and_tests_that_exist(name):
  _, functions, method, tests, _ = page()[name]
  paths = re.findall(r'`([\w.]+)`', functions)
  assert paths and all(callable(resolve(path)) for path in paths)
  for path in re.findall(r'`([\w.]+)`', method):
    assert path.startswith('rljax.methods.') and callable(resolve(path))
  references = re.findall(r'`(tests/[\w/]+\.py)::(\w+)`', tests)
  assert references
  for file, test in references:
    assert f'def {test}(' in (ROOT / file).read_text(), f'{file} has no {test}'


def test_every_method_by_name_is_on_the_page():
  written = {path for cells in page().values() for path in re.findall(r'`([\w.]+)`', cells[2])}
  names = {
    f'rljax.methods.{name}'
    for name, factory in vars(methods).items()
    if getattr(factory, '__annotations__', {}).get('return') in (Method, 'Method')
    and factory.__kwdefaults__ is not None
    and not factory.__code__.co_argcount
  }
  assert names - written == set()
