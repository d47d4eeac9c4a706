"""One run in many processes: how they find each other, agree, and end when one of them is gone.

Every process runs the same command on the same run directory, which all must see. Process 0 alone
writes logs, samples and summary; checkpoints are written by all.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from absl import flags
from jax.experimental import multihost_utils

from experiments.errors import Interrupted, RunError, UserError

# Seconds after which a process that says nothing is taken for dead; the others end then.
_HEARTBEAT = 30
# Seconds that a process which has finished waits for the others to finish too.
_SHUTDOWN = 120


def define_flags(flag_values=flags.FLAGS) -> None:
  """Defines --coordinator, --num_processes and --process_id."""
  flags.DEFINE_string(
    'coordinator',
    None,
    'host:port of process 0, where launchers that JAX knows (SLURM, MPI, GKE, TPU pods) do not say '
    'it.',
    flag_values=flag_values,
  )
  flags.DEFINE_integer(
    'num_processes', None, 'Number of processes, with --coordinator.', flag_values=flag_values
  )
  flags.DEFINE_integer(
    'process_id', None, 'Which of them this is, from 0.', flag_values=flag_values
  )


def connect(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
  """Makes this process one of a job, before JAX touches a device; alone if nothing says otherwise.

  Raises:
    UserError: some of the three are given but not all, or they make no sense; or the others are not
      there.
  """
  given = {'coordinator': coordinator, 'num_processes': num_processes, 'process_id': process_id}
  missing = [f'--{name}' for name, value in given.items() if value is None]
  if 0 < len(missing) < 3:
    raise UserError(
      f'{" and ".join(missing)} is missing: a process of a job needs --coordinator=host:port, '
      '--num_processes and --process_id.'
    )
  if not missing:
    if not 0 <= process_id < num_processes:
      raise UserError(
        f'--process_id is {process_id}; with --num_processes={num_processes} it must be in '
        f'[0, {num_processes}).'
      )
    if not (coordinator.rpartition(':')[0] and coordinator.rpartition(':')[2].isdigit()):
      raise UserError(f'--coordinator is {coordinator!r}; expected host:port.')
  try:
    jax.distributed.initialize(
      coordinator,
      num_processes,
      process_id,
      heartbeat_timeout_seconds=_HEARTBEAT,
      shutdown_timeout_seconds=_SHUTDOWN,
    )
  except ValueError as error:
    if missing and 'coordinator_address' in str(error):
      return  # no launcher that JAX knows has started this process
    raise UserError(f'The processes of the job cannot be connected: {error}') from error
  except jax.errors.JaxRuntimeError as error:
    raise UserError(
      f'The processes of the job did not find each other at {coordinator or "the coordinator"}: '
      f'{str(error).splitlines()[0]}. Start all of them, with the same --coordinator.'
    ) from error


def is_first() -> bool:
  """Whether this is process 0, which writes."""
  return jax.process_index() == 0


def largest(number: int) -> int:
  """The largest of every process's number; all must call it."""
  if jax.process_count() == 1:
    return number
  return int(np.max(multihost_utils.process_allgather(np.int32(number))))


def on_first(function: Callable[[], Any]) -> Any:
  """What a function returns on process 0, as JSON gives it back, on every process.

  Raises:
    UserError, RunError: on every process, if it raised one on process 0.
  """
  if jax.process_count() == 1:
    return function()
  error: Exception | None = None
  record: dict[str, Any] = {}
  if is_first():
    try:
      record = {'result': function()}
    except (UserError, RunError) as raised:
      error, record = raised, {'error': type(raised).__name__, 'message': str(raised)}
  record = _broadcast(record)
  if error is not None:
    raise error
  if 'error' in record:
    kind = {'UserError': UserError, 'RunError': RunError}[record['error']]
    raise kind(f'Process 0: {record["message"]}')
  return record['result']


def _broadcast(record: dict[str, Any]) -> dict[str, Any]:
  content = np.frombuffer(json.dumps(record).encode(), np.uint8)
  size = int(multihost_utils.broadcast_one_to_all(np.int32(content.size)))
  padded = np.zeros(size, np.uint8)
  padded[: min(size, content.size)] = content[:size]
  return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(padded)).tobytes())


@contextlib.contextmanager
def ending_together() -> Iterator[None]:
  """An error inside ends this process of several at once, so that the others notice.

  Whatever waits for the others on the way out, as checkpoints do, would wait for ever. Innermost
  of the context managers of a run; does nothing in a job of one process.
  """
  try:
    yield
  except Interrupted:
    raise  # on all of them
  except Exception as error:
    if jax.process_count() == 1:
      raise
    if isinstance(error, jax.errors.JaxRuntimeError) and not _is_own(error):
      message = (
        'Error: another process of this job has ended or cannot be reached. Start all processes '
        'again with the same command: the run continues from its newest checkpoint. '
        f'({str(error).splitlines()[0]})'
      )
    else:
      message = ''.join(traceback.format_exception(error))
    print(message, file=sys.stderr, flush=True)
    os._exit(os.EX_TEMPFAIL)


def _is_own(error: jax.errors.JaxRuntimeError) -> bool:
  """Whether an error is a fault of this process, and not the silence of another."""
  return str(error).startswith(('RESOURCE_EXHAUSTED', 'INVALID_ARGUMENT', 'UNIMPLEMENTED'))
