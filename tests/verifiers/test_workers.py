"""Worker processes: limits of time and memory, replacement, one outcome for each sample."""

import os
import subprocess
import sys
import threading
import time

import hostile_scores
import numpy as np
import pytest

from rljax.verifiers import Workers


@pytest.fixture(scope='module')
def workers():
  with Workers(hostile_scores.misbehave, seconds=2.0, memory=2 << 30, failure=-1.0) as pool:
    yield pool


def test_every_misbehaviour_is_one_failure_and_the_others_are_judged(workers):
  bad = ['hang', 'compute', 'die', 'crash', 'exit', 'raise', 'recurse', 'eat']
  bad += ['nan', 'inf', 'none', 'two', 'text']
  answers = [a for name in bad for a in (name, 'right', 'wrong')]
  found = workers(answers, ['right'] * len(answers))
  assert found['score'].tolist() == [-1, 1, 0] * len(bad)
  assert found['correct'].tolist() == [0, 1, 0] * len(bad)
  assert found['failed'].tolist() == [1, 0, 0] * len(bad)
  assert [a for a, late in zip(answers, found['timed_out'], strict=True) if late] == bad[:2]
  assert not found['bad_target'].any()


def test_a_process_is_replaced_only_when_it_had_to_be_killed(workers):
  workers(['x'], ['y'])
  before = [process.popen.pid for process in workers._processes]
  workers(['raise', 'recurse', 'none', 'print'], ['y'] * 4)
  assert [process.popen.pid for process in workers._processes] == before
  workers(['die'], ['y'])
  assert sum(process is None for process in workers._processes) == 1
  assert workers(['y', 'z'], ['y', 'y'])['correct'].tolist() == [1, 0]


def test_what_a_score_prints_disturbs_nothing(workers, capfd):
  found = workers(['print', 'right', 'surrogate \ud800', '\x00\n'], ['right'] * 4)
  assert found['score'].tolist() == [1, 1, 1, 0]
  assert capfd.readouterr() == ('', '')


def test_a_bad_target_is_marked(workers):
  found = workers(['a', 'b'], ['bad', 'b'])
  assert found['bad_target'].tolist() == found['failed'].tolist() == [1, 0]


def test_many_samples_keep_their_order(workers):
  answers = [str(i % 50) for i in range(500)]
  found = workers(answers, [str(i % 5) for i in range(500)])
  assert found['correct'].tolist() == [float(i % 50 == i % 5) for i in range(500)]


def test_long_texts_arrive(workers):
  text = '(' * 5 * 10**6
  assert workers([text, text + '.'], [text] * 2)['correct'].tolist() == [1, 0]


def test_truncated_and_unanswered_completions_are_not_asked():
  def never(text):
    raise AssertionError

  pool = Workers(hostile_scores.equal, extract=never, failure=-1.0)
  assert pool(['a'], ['a'], [True])['score'].tolist() == [0]
  assert pool(['a'], ['a'])['failed'].tolist() == [1]
  pool = Workers(hostile_scores.equal, extract=lambda text: None)
  assert pool(['a'], ['a'])['score'].tolist() == [0]
  assert pool([], [])['score'].shape == (0,)
  assert pool._processes == [None, None]


def test_answers_are_extracted_here_and_equal_pairs_are_judged_once(tmp_path):
  calls = []

  def extract(text):
    calls.append(text)
    return text[-1]

  with Workers(hostile_scores.equal, extract=extract, workers=1) as pool:
    found = pool(['xa', 'ya', 'zb'], ['a', 'a', 'a'])
  assert calls == ['xa', 'ya', 'zb']
  assert found['correct'].tolist() == [1, 1, 0]


def test_a_batch_of_texts_that_hang_ends_in_time():
  with Workers(hostile_scores.misbehave, seconds=1.0, batch_seconds=3.0) as pool:
    pool.start()
    start = time.monotonic()
    found = pool(['hang'] * 30, [str(i) for i in range(30)])
    assert time.monotonic() - start < 30
  assert found['timed_out'].tolist() == [1.0] * 30


def test_batches_from_several_threads_wait_for_each_other(workers):
  found = {}

  def batch(name):
    found[name] = workers([str(i) for i in range(40)], [str(name)] * 40)['correct']

  threads = [threading.Thread(target=batch, args=(name,)) for name in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  for name in range(4):
    np.testing.assert_array_equal(found[name], np.arange(40) == name)


def test_a_worker_that_misjudges_the_canary_is_not_used():
  pool = Workers(hostile_scores.zero, canary=[('5', '5', 1.0)])
  with pytest.raises(RuntimeError, match="judges '5' for '5'"):
    pool(['5'], ['5'])
  assert pool._processes == [None, None]


def test_a_score_that_cannot_be_imported_there_is_explained(monkeypatch, tmp_path):
  (tmp_path / 'only_here.py').write_text('def score(answer, target):\n  return 1.0\n')
  monkeypatch.syspath_prepend(tmp_path)
  import only_here

  pool = Workers(only_here.score)
  (tmp_path / 'only_here.py').write_text('import no_such_library\n')
  with pytest.raises(RuntimeError, match='no_such_library'):
    pool(['5'], ['5'])


def local_score():
  def score(answer, target):
    return 1.0

  return score


@pytest.mark.parametrize('score', [lambda a, t: 1.0, local_score(), str.__eq__, 'no:where'])
def test_a_score_without_a_name_is_refused(score):
  with pytest.raises(ValueError, match='import their score by its name'):
    Workers(score)


def test_wrong_settings_are_refused():
  with pytest.raises(ValueError, match='at least one'):
    Workers(hostile_scores.equal, workers=0)
  with pytest.raises(ValueError, match='finite'):
    Workers(hostile_scores.equal, failure=float('nan'))


def running(pid):
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  return True


def test_closing_ends_the_processes_and_the_next_batch_starts_new_ones():
  pool = Workers(hostile_scores.equal)
  pool(['a', 'b'], ['a', 'a'])
  pids = [process.popen.pid for process in pool._processes]
  pool.close()
  pool.close()
  assert not any(running(pid) for pid in pids)
  assert pool(['a'], ['a'])['correct'].tolist() == [1]
  pool.close()


def test_workers_end_with_the_main_program():
  code = """
import sys
import hostile_scores
from rljax.verifiers import Workers
pool = Workers(hostile_scores.equal)
pool.start()
print(*[process.popen.pid for process in pool._processes], flush=True)
"""
  path = os.pathsep.join(sys.path)
  result = subprocess.run(
    [sys.executable, '-c', code],
    capture_output=True,
    text=True,
    check=True,
    env={**os.environ, 'PYTHONPATH': path},
  )
  pids = [int(pid) for pid in result.stdout.split()]
  assert len(pids) == 2
  deadline = time.monotonic() + 20
  while any(running(pid) for pid in pids) and time.monotonic() < deadline:
    time.sleep(0.05)
  assert not any(running(pid) for pid in pids)


def test_workers_that_nobody_uses_cost_no_process_and_no_import():
  code = """
import sys
from rljax import verifiers
verifiers.Workers(verifiers.same_latex)
print(*[name for name in ('jax', 'sympy', 'math_verify', 'multiprocessing') if name in sys.modules])
"""
  result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
  assert result.stdout.split() == []
