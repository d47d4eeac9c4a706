"""What travels between devices in a compiled program, read from its HLO text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

KINDS = ('all-gather', 'all-reduce', 'reduce-scatter', 'all-to-all', 'collective-permute')

# `%name = type op(operands), attributes`; the type of a tuple holds spaces and comments.
_INSTRUCTION = re.compile(r'^\s+(?:ROOT )?%?(\S+) = (.*?) ([a-z][a-z0-9-]*)\((.*)$')
_COMPUTATION = re.compile(r'^(ENTRY )?%?(\S+) \(.*\{$')
_ARRAY = re.compile(r'\b([a-z]+\d*[a-z0-9]*)\[([\d,]*)\]')
_CALLED = re.compile(
  r'\b(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.-]+)'
  r'|\b(?:branch_computations|called_computations)=\{([^}]*)\}'
)
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


class Collective(NamedTuple):
  """The collectives of one kind in one program.

  Attributes:
    times: how often one is run, loops included.
    bytes: on one device, of all of these: the larger of what goes in and what comes out.
  """

  times: int
  bytes: int


class _Instruction(NamedTuple):
  name: str
  type: str
  op: str
  rest: str


def collectives(text: str) -> dict[str, Collective]:
  """Number and bytes of the collectives of a compiled program by kind; kinds that are not there are
  left out.

  A loop counts as often as it can run: by its known trip count, else by the constant that its
  counter is compared with, else once. Loops side by side that may also end for another reason are
  taken for one loop in stages, as the sampler's is: each starts at the bound before. The
  reduce-scatters that the TPU compiler fuses are found.

  Args:
    text: of a compiled, partitioned module, from `jax.stages.Compiled.as_text`.
  """
  computations, entry = _computations(text)
  # By kind and channel: a collective that the TPU compiler spreads over several fusions stands in
  # each of them, with the same channel.
  found: dict[tuple[str, str], Collective] = {}
  pending = [(entry, 1)]
  while pending:
    computation, times = pending.pop()
    sizes = {i.name: _bytes(i.type) for i in computations[computation]}
    trips = _trips(computations[computation], computations)
    for instruction in computations[computation]:
      kind = _kind(instruction)
      if kind is not None:
        given = sum(sizes.get(name, 0) for name in _operands(instruction))
        result = _bytes(instruction.type)
        if instruction.op in ('all-gather-start', 'collective-permute-start'):
          result -= given  # the type of these starts holds their operands too
        channel = re.search(r'channel_id=(\d+)', instruction.rest)
        key = kind, channel[1] if channel else f'{computation}/{instruction.name}'
        here = Collective(times, times * max(given, result))
        found[key] = max(found.get(key, here), here)
        continue
      inside = times * trips.get(instruction.name, 1)
      pending += [(name, inside) for name in _called(instruction) if name in computations]
  totals = {}
  for kind in KINDS:
    each = [collective for (name, _), collective in found.items() if name == kind]
    if each:
      totals[kind] = Collective(sum(c.times for c in each), sum(c.bytes for c in each))
  return totals


def _computations(text: str) -> tuple[dict[str, list[_Instruction]], str]:
  """Instructions by computation, and the name of the entry."""
  found: dict[str, list[_Instruction]] = {}
  entry, current = '', None
  for line in text.splitlines():
    header = _COMPUTATION.match(line)
    if header:
      current = header[2]
      found[current] = []
      entry = current if header[1] else entry
      continue
    match = _INSTRUCTION.match(line)
    if match and current is not None:
      found[current].append(_Instruction(*match.groups()))
  if not entry:
    raise ValueError('This is no HLO text: no computation in it is marked ENTRY.')
  return found, entry


def _kind(instruction: _Instruction) -> str | None:
  op = instruction.op.removesuffix('-start')
  if op in KINDS:
    return op
  if op == 'ragged-all-to-all':
    return 'all-to-all'
  if op == 'fusion' and re.search(r'calls=%?all-reduce-scatter', instruction.rest):
    return 'reduce-scatter'
  return None


def _operands(instruction: _Instruction) -> list[str]:
  depth = 1
  for end, letter in enumerate(instruction.rest):  # types of operands may hold brackets
    depth += (letter == '(') - (letter == ')')
    if not depth:
      return re.findall(r'%([\w.-]+)', instruction.rest[:end])
  return []


def _called(instruction: _Instruction) -> Iterator[str]:
  for match in _CALLED.finditer(instruction.rest):
    for name in (match[1] or match[2]).split(','):
      yield name.strip().lstrip('%')


def _trips(instructions: list[_Instruction], computations) -> dict[str, int]:
  """How often each of the loops among some instructions runs, by name."""
  found, stages = {}, {}
  for loop in instructions:
    if loop.op != 'while':
      continue
    known = _TRIPS.search(loop.rest)
    condition = re.search(r'condition=%?([\w.-]+)', loop.rest)
    bound = int(known[1]) if known else _bound(condition[1], computations) if condition else 1
    found[loop.name] = bound
    if not known and condition and any(i.op == 'and' for i in computations[condition[1]]):
      stages[loop.name] = bound
  start = 0
  for name, bound in sorted(stages.items(), key=lambda item: item[1]):
    found[name] = max(1, bound - start)
    start = bound
  return found


def _bound(condition: str, computations) -> int:
  """The constant that a loop's counter is compared with; 1 if there is none."""
  bounds = [1]
  pending = [condition]
  while pending:
    instructions = computations.get(pending.pop(), [])
    constants = {
      i.name: int(value[0])
      for i in instructions
      if i.op == 'constant' and (value := re.match(r'-?\d+', i.rest))
    }
    for instruction in instructions:
      if instruction.op == 'compare' and 'direction=LT' in instruction.rest:
        bounds += [constants[name] for name in _operands(instruction) if name in constants]
      pending += _called(instruction)
  return max(bounds)


def _bytes(type_: str) -> int:
  return sum(map(_array_bytes, _ARRAY.finditer(type_)))


def _array_bytes(match: re.Match) -> int:
  kind, shape = match[1], match[2]
  if kind == 'pred':
    bits = 8
  else:
    digits = re.search(r'\d+', kind)
    bits = int(digits[0]) if digits else 0  # tokens have no size
  # Packed types (s4) are counted in full bits.
  return math.prod(int(n) for n in shape.split(',') if n) * bits // 8
