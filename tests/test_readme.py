"""The code that the README shows runs."""

import pathlib
import re

from rljax.types import Method

README = pathlib.Path(__file__).parents[1] / 'README.md'


def test_python_blocks_of_the_readme_run():
  blocks = re.findall(r'```python\n(.*?)```', README.read_text(encoding='utf-8'), re.DOTALL)
  assert blocks
  for block in blocks:
    names = {}
    exec(compile(block, str(README), 'exec'), names)
    assert isinstance(names['method'], Method)
    assert isinstance(names['dr_grpo'](max_length=8), Method)


def test_every_command_of_the_readme_exists():
  text = README.read_text(encoding='utf-8')
  for module in re.findall(r'python -m (experiments(?:\.\w+)+)', text):
    assert (README.parent / module.replace('.', '/')).with_suffix('.py').exists(), module
  for config in re.findall(r'configs/\w+\.py', text):
    assert (README.parent / config).exists(), config
