"""Metrics on disk: strict JSON, and a TensorBoard view that counts redone steps once."""

import errno
import json
import math
import struct

import numpy as np
import pytest
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from experiments.errors import RunError
from experiments.logs import MetricsLog, read_metrics


def events(directory):
  """Events of all files in the order in which TensorBoard reads them."""
  for file in sorted(directory.iterdir()):
    content = file.read_bytes()
    while content:
      (length,) = struct.unpack('Q', content[:8])
      yield Event.FromString(content[12 : 12 + length])
      content = content[16 + length :]


def scalars(directory):
  """What TensorBoard shows, `{tag: [(step, value)]}`: a start marker purges its step onwards."""
  shown = {}
  for event in events(directory):
    if event.session_log.status == SessionLog.START:
      shown = {tag: [p for p in points if p[0] < event.step] for tag, points in shown.items()}
    for value in event.summary.value:
      shown.setdefault(value.tag, []).append((event.step, value.simple_value))
  return shown


def test_records_are_strict_json_and_events_carry_the_phase(tmp_path):
  log = MetricsLog(tmp_path)
  log.write('rl', 1, {'reward': np.float32(0.5), 'kl': math.nan, 'pass@1': 1})
  log.write('eval', 1, {'accuracy': math.inf})
  log.close()
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()

  def refuse(word):
    raise AssertionError(word)

  assert [json.loads(line, parse_constant=refuse) for line in lines] == [
    {'phase': 'rl', 'step': 1, 'reward': 0.5, 'kl': None, 'pass@1': 1.0},
    {'phase': 'eval', 'step': 1, 'accuracy': None},
  ]
  shown = scalars(tmp_path / 'tensorboard' / 'rl')
  assert shown == {'rl/reward': [(1, 0.5)], 'rl/pass@1': [(1, 1.0)]}
  assert scalars(tmp_path / 'tensorboard' / 'eval') == {}


def test_redone_steps_stand_once_in_both(tmp_path):
  log = MetricsLog(tmp_path)
  for step in (1, 2):
    log.write('rl', step, {'reward': step})
  log.write('eval', 2, {'accuracy': 0.2})
  offset = log.offset()
  for step in (3, 4):
    log.write('rl', step, {'reward': -1.0})
  log.write('eval', 4, {'accuracy': 0.4})
  log.close()

  log = MetricsLog(tmp_path)
  log.truncate(offset)
  for step in (3, 4, 5):
    log.write('rl', step, {'reward': step})
  log.write('eval', 6, {'accuracy': 0.6})  # the interval of evaluations may change
  log.close()
  found = read_metrics(tmp_path)
  assert [(r['step'], r['reward']) for r in found['rl']] == [(n, n) for n in (1, 2, 3, 4, 5)]
  assert [r['step'] for r in found['eval']] == [2, 6]
  shown = scalars(tmp_path / 'tensorboard' / 'rl')
  assert shown == {'rl/reward': [(n, n) for n in (1, 2, 3, 4, 5)]}
  shown = scalars(tmp_path / 'tensorboard' / 'eval')['eval/accuracy']
  assert shown == [(2, pytest.approx(0.2)), (6, pytest.approx(0.6))]


def test_redoing_everything_shows_only_the_second_time(tmp_path):
  log = MetricsLog(tmp_path)
  log.write('rl', 0, {'reward': 1.0})
  log.truncate(0)
  log.write('rl', 0, {'reward': 2.0})
  log.close()
  assert scalars(tmp_path / 'tensorboard' / 'rl') == {'rl/reward': [(0, 2.0)]}
  assert [r['reward'] for r in read_metrics(tmp_path)['rl']] == [2.0]


def test_an_offset_means_that_events_are_on_disk(tmp_path):
  log = MetricsLog(tmp_path)
  log.write('rl', 1, {'reward': 1.0})
  assert log.offset() == (tmp_path / 'metrics.jsonl').stat().st_size
  assert scalars(tmp_path / 'tensorboard' / 'rl') == {'rl/reward': [(1, 1.0)]}
  log.close()


def test_other_processes_write_nothing(tmp_path):
  log = MetricsLog(tmp_path, process_index=1)
  log.write('rl', 1, {'reward': 1.0})
  assert log.offset() == 0
  log.truncate(0)
  log.close()
  assert list(tmp_path.iterdir()) == []
  assert read_metrics(tmp_path) == {}


def test_a_full_disk_is_an_error_also_in_the_events(tmp_path, monkeypatch):
  log = MetricsLog(tmp_path)
  log.write('rl', 1, {'reward': 1.0})

  def full(self):
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(EventsWriter, 'flush', full)
  with pytest.raises(RunError, match=r'tensorboard: No space left.*checkpoint of the run is safe'):
    log.offset()
  with pytest.raises(RunError, match='No space left'):
    log.close()
