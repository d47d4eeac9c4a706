"""Hostile programs: contained, ended in time, and nothing of them left behind."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import pytest

from rljax.verifiers import Limits, Sandbox, sandbox

ROOT = pathlib.Path(__file__).parents[2]
MECHANISMS = {'namespaces': (), 'without': ('namespaces',), 'bare': ('landlock', 'namespaces')}
LIMITS = Limits(
  seconds=1, memory=128 << 20, processes=4, output=1 << 16, disk=1 << 20, open_files=32
)
if sys.platform != 'linux':
  pytest.skip('Programs are run on Linux only.', allow_module_level=True)


def protections(name):
  """What this machine enforces by these mechanisms."""
  return sandbox.capabilities(MECHANISMS[name])


@pytest.fixture(scope='module', params=['namespaces', 'without'])
def box(request, tmp_path_factory):
  found = protections(request.param)
  if not all(found.values()) or (request.param == 'namespaces' and 'landlock' in found.values()):
    pytest.skip(f'This machine cannot do it: {found}')
  own = tmp_path_factory.mktemp('runs')
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(tempfile, 'tempdir', str(own))
    with Sandbox(LIMITS, workers=1, avoid=MECHANISMS[request.param]) as opened:
      opened.directory = own
      yield opened
  assert not list(own.iterdir())


def children(pid):
  """Every descendant, as the kernel has them."""
  own = pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text().split()
  return [int(child) for child in own] + [each for child in own for each in children(child)]


def run(box, source, stdin=b''):
  """A run that is over in time and leaves nothing; a right program still works afterwards."""
  start = time.monotonic()
  found = box.run({'source': source}, stdin)
  # The time limit, as much again for the watcher, and all that a loaded machine may take.
  assert time.monotonic() - start < 30
  assert len(found.stdout) <= LIMITS.output and len(found.stderr) <= LIMITS.output
  for zygote in box._all:
    assert children(zygote._process.pid) == []
  assert not list(box.directory.iterdir())
  after = box.run({'source': 'print(int(input()) ** 2)'}, b'7')
  assert after.status == 0 and after.stdout == b'49\n', after
  return found


ENDLESS = {
  'a loop': 'while True: pass',
  'sleep': 'import time\ntime.sleep(10 ** 6)',
  'input that never comes': 'import os\nr, w = os.pipe()\nos.read(r, 1)',
  'ignored signals': """
import signal
for number in range(1, 65):
  try: signal.signal(number, signal.SIG_IGN)
  except (OSError, ValueError): pass
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
while True: pass
""",
  'an exception that takes for ever': """
class E(Exception):
  def __str__(self):
    while True: pass
raise E
""",
  'a thread that stays': """
import threading
def stay():
  while True: pass
threading.Thread(target=stay).start()
""",
  'a search in C': 'import re\nre.match("(a+)+$", "a" * 60 + "b")',
  'an exit that is delayed': 'import atexit, time\natexit.register(time.sleep, 10 ** 6)',
}


@pytest.mark.parametrize(
  'name',
  [*list(ENDLESS)[:3], *[pytest.param(x, marks=pytest.mark.slow) for x in list(ENDLESS)[3:]]],
)
def test_what_does_not_end_is_ended(box, name):
  found = run(box, ENDLESS[name])
  assert found.timed_out and found.status != 0


BOMBS = {
  'forks': 'import os\nwhile True: os.fork()',
  'forks that hide their errors': """
import os
while True:
  try: os.fork()
  except OSError: pass
""",
  'forks in new sessions that ignore signals': """
import os, signal
for number in (1, 2, 15): signal.signal(number, signal.SIG_IGN)
while True:
  try:
    if os.fork() == 0: os.setsid()
  except OSError: pass
""",
  'threads': """
import threading, time
while True:
  try: threading.Thread(target=time.sleep, args=(100,)).start()
  except (RuntimeError, MemoryError): pass
""",
}


@pytest.mark.parametrize('name', BOMBS)
def test_bombs_of_processes_are_contained(box, name):
  assert run(box, BOMBS[name]).status != 0


def test_processes_are_counted(box):
  source = """
import os, time
count = 1
try:
  for _ in range(100):
    if os.fork() == 0:
      time.sleep(100)
    count += 1
except OSError:
  print(count)
"""
  most = LIMITS.processes if box.protections['processes'] == 'namespace' else 1
  assert int(run(box, source).stdout) == most


DAEMON = """
import os, sys, time
if os.fork() == 0:
  os.setsid()
  if os.fork() == 0:
    for fd in range(3): os.close(fd)
    time.sleep(10 ** 6)
  os._exit(0)
os.wait()
print('done')
"""


def test_daemons_end_with_the_program_that_started_them(box):
  found = run(box, DAEMON)
  if box.protections['processes'] == 'namespace':
    assert found.stdout == b'done\n' and found.status == 0
  else:
    assert b'PermissionError' in found.stderr  # no process can be started


def test_even_without_any_protection_daemons_are_ended():
  everything = ('files', 'network', 'processes')
  with Sandbox(LIMITS, workers=1, accept=everything, avoid=sandbox.MECHANISMS) as opened:
    assert opened.run({'source': DAEMON}).stdout == b'done\n'
    (zygote,) = opened._all
    assert children(zygote._process.pid) == []


@pytest.mark.parametrize(
  'source',
  [
    'x = bytearray(10 * 2 ** 30)',
    'x = []\nwhile True: x.append(bytearray(2 ** 20))',
    'x = [0]\nwhile True: x += x',
    'import mmap\nmmap.mmap(-1, 10 * 2 ** 30)',
    'x = 1 << (10 ** 11)',
    "x = 'a' * (10 * 2 ** 30)",
  ],
)
def test_memory_is_limited(box, source):
  found = run(box, source)
  assert found.status == 86 or b'Cannot allocate memory' in found.stderr, found


def test_the_limit_of_memory_is_on_the_whole_process(box):
  source = 'try:\n  x = bytearray({})\n  print("had")\nexcept MemoryError: print("refused")'
  assert run(box, source.format(40 << 20)).stdout == b'had\n'
  assert run(box, source.format(127 << 20)).stdout == b'refused\n'


@pytest.mark.parametrize(
  'source',
  [
    "while True: print('x' * 10000)",
    'import sys\nwhile True: sys.stderr.write("x" * 10000)',
    'import os\nwhile True: os.write(3, b"x" * 10000)',
    "import sys\nsys.stdout.write('x' * (50 << 20))",
    "raise ValueError('x' * (20 << 20))",
  ],
)
def test_output_is_limited(box, source):
  found = run(box, source)
  assert found.overflowed and found.status != 0


def test_the_disk_is_limited(box):
  source = """
import os
def fill(path, size):
  try:
    with open(path, 'wb') as file:
      for _ in range(size >> 16): file.write(bytes(1 << 16))
  except OSError: pass
  return os.path.getsize(path)
first = fill('a', 10 << 20)
print(first, first + sum(fill(f'b{i}', 10 << 20) for i in range(8)))
"""
  one, whole = map(int, run(box, source).stdout.split())
  assert 0 < one <= LIMITS.disk
  if box.protections['files'] == 'namespace':
    assert whole <= LIMITS.disk


def test_other_stores_are_limited(box):
  source = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
print(libc.shmget(0, 1 << 20, 0o1600), libc.memfd_create(b'x', 0))
try: print(open('/dev/shm/x', 'w'))
except OSError: print('refused')
files = []
try:
  while True: files.append(os.open('/dev/null', os.O_RDONLY))
except OSError: print(len(files) < 32)
"""
  assert run(box, source).stdout == b'-1 -1\nrefused\nTrue\n'


def test_the_working_directory_is_ones_own_and_empty(box):
  source = """
import os, tempfile
print(os.listdir('.'), os.environ['HOME'] == os.getcwd() == tempfile.gettempdir())
open('file', 'w').write('text')
print(open('file').read(), [os.path.basename(p) for p in os.listdir('.')])
os.makedirs('a/b')
os.rename('file', 'a/b/file')
os.remove('a/b/file')
"""
  for _ in range(2):
    assert run(box, source).stdout == b"[] True\ntext ['file']\n"


def test_a_directory_is_removed_however_deep(box):
  source = """
import os
os.mkdir('closed', 0)
try:
  for i in range(1200):
    os.write(1, b'.')
    os.mkdir('d')
    open('f', 'w').close()
    os.symlink('/', 'l')
    os.chdir('d')
except OSError: pass
"""
  assert len(run(box, source).stdout) > 200  # as far as it comes in its time; all is removed


@pytest.fixture
def secret(tmp_path):
  """A file beside the trainer, that everybody on this machine may read and write."""
  tmp_path.chmod(0o777)
  path = tmp_path / 'secret'
  path.write_text('SECRET')
  path.chmod(0o666)
  for above in tmp_path.parents:
    if above.stat().st_uid == os.getuid() and 'pytest' in above.name:
      above.chmod(0o755)
  return path


def test_files_of_the_trainer_cannot_be_read(box, secret):
  source = f"""
import ctypes, glob, os
path = {str(secret)!r}
libc = ctypes.CDLL(None)
def attempt(function, *given):
  try: print(function(*given))
  except (OSError, AttributeError): print('refused')
def read(path): return open(path).read()
def link(path):
  os.symlink(path, 'link')
  return open('link').read()
def hard(path):
  os.link(path, 'hard')
  return open('hard').read()
def above(path):
  return open('../' * 30 + path[1:]).read()
def rooted(path):
  os.chroot('/proc/1/root')
  return open(path).read()
for function in (read, link, hard, above, rooted, os.listdir): attempt(function, path)
for found in ('self/root', 'self/cwd/../..', '1/root', '{os.getpid()}/root', '{os.getpid()}/cwd'):
  attempt(read, f'/proc/{{found}}{{path}}')
attempt(os.listdir, os.path.dirname(path))
attempt(read, '/proc/{os.getpid()}/environ')
attempt(read, '/proc/{os.getpid()}/maps')
attempt(read, '/etc/passwd')
print(libc.mount(b'/', b'.', None, 4096, None), libc.unshare(0x10020000))
"""
  found = run(box, source)
  assert found.stdout.split() == [b'refused'] * 15 + [b'-1'] * 2, found
  assert secret.read_text() == 'SECRET'


def test_nothing_can_be_written_outside(box, secret):
  before = secret.stat()
  source = f"""
import os, shutil
path = {str(secret)!r}
def write(path): open(path, 'w').write('x')
def append(path): open(path, 'a').write('x')
def new(path): open(path + 'new', 'w').write('x')
for function in (
  write, append, new, os.remove, lambda p: os.rename(p, p + 'x'), lambda p: os.truncate(p, 0),
  lambda p: os.chmod(p, 0), lambda p: os.utime(p, (0, 0)), lambda p: os.mkdir(p + 'd'),
  lambda p: os.setxattr(p, 'user.x', b'1'), lambda p: os.symlink('/', p + 'l'),
  lambda p: write(os.__file__), lambda p: append(os.__file__), lambda p: os.remove(os.__file__),
  lambda p: os.chmod(os.__file__, 0o777), lambda p: write('/etc/new'), lambda p: write('/dev/new'),
  lambda p: os.mkdir('/new'), lambda p: os.mkdir(os.path.dirname(os.getcwd()) + '/new'),
):
  try: print(function(path))
  except OSError: print('refused')
"""
  found = run(box, source)
  assert found.stdout.split() == [b'refused'] * 19, found
  assert secret.read_text() == 'SECRET' and list(secret.parent.iterdir()) == [secret]
  assert secret.stat().st_mtime_ns == before.st_mtime_ns
  assert secret.stat().st_mode == before.st_mode


def test_there_is_no_network(box, tmp_path):
  path = tmp_path / 'socket'
  with socket.create_server(('127.0.0.1', 0)) as server, socket.socket(socket.AF_UNIX) as local:
    local.bind(str(path))
    local.listen()
    server.settimeout(0.01)
    source = f"""
import socket
def connect(family, address):
  with socket.socket(family) as s:
    s.settimeout(1)
    s.connect(address)
for attempt in (
  lambda: connect(socket.AF_INET, ('127.0.0.1', {server.getsockname()[1]})),
  lambda: connect(socket.AF_INET, ('192.0.2.1', 80)),
  lambda: connect(socket.AF_UNIX, {str(path)!r}),
  lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9)),
  lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
  lambda: socket.create_server(('127.0.0.1', 0)),
):
  try: print(attempt())
  except OSError: print('refused')
one, other = socket.socketpair()
one.sendall(b'a pair of sockets works')
print(other.recv(100).decode())
"""
    found = run(box, source)
    assert found.stdout == b'refused\n' * 6 + b'a pair of sockets works\n', found
    with pytest.raises(TimeoutError):
      server.accept()


def test_other_processes_cannot_be_touched(box):
  victim = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)'])
  box.run({'source': ''})
  zygotes = [zygote._process.pid for zygote in box._all]
  try:
    source = f"""
import ctypes, os, resource, signal
libc = ctypes.CDLL(None, use_errno=True)
print(os.getpid() != {os.getpid()})
for pid in ({victim.pid}, {os.getpid()}, {zygotes[0]}, os.getppid()):
  for attempt in (
    lambda: os.kill(pid, signal.SIGKILL) if pid else 1 / 0,
    lambda: os.killpg(pid, signal.SIGKILL) if pid else 1 / 0,
    lambda: resource.prlimit(pid, resource.RLIMIT_CPU, (0, 0)) if pid else 1 / 0,
    lambda: os.setpriority(os.PRIO_PROCESS, pid, 19),
    lambda: os.sched_setaffinity(pid, [0]) if pid else 1 / 0,
    lambda: open(f'/proc/{{pid}}/mem', 'r+b'),
    lambda: 1 / (1 + libc.ptrace(16, pid, 0, 0)),
    lambda: 1 / (1 + libc.prctl(1, 0, 0, 0, 0)),
  ):
    try: print('did', attempt())
    except (OSError, ZeroDivisionError): pass
import fcntl
r, w = os.pipe()
try:
  fcntl.fcntl(r, fcntl.F_SETOWN, {victim.pid})
  fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC)
  os.write(w, b'x')
except OSError: pass
try: os.kill(-1, signal.SIGKILL)
except OSError: pass
print('end')
"""
    found = run(box, source)
    assert found.stdout == b'True\nend\n', found
    assert victim.poll() is None
    assert zygotes == [zygote._process.pid for zygote in box._all]
  finally:
    victim.kill()
    victim.wait()


@pytest.mark.parametrize(
  'source',
  [
    'import os\nos.close(1)\nprint(1)',
    'import os\nfor fd in range(100):\n  try: os.close(fd)\n  except OSError: pass',
    'import sys\nsys.stdout.close()\nprint(1)',
    'import sys\nsys.stdout = sys.stderr = None\nraise ValueError',
    'x = (',
    '(' * 100000,
    '\ud800\udfff',
    'x = "\x00"',
    '\u202e\u2066 \ufeff = \U0001f4a5',
    'x = ' + '-' * 100000 + '1',
    'def f(n): return f(n + 1)\nf(0)',
    'import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(n): return [f(n + 1)]\nf(0)',
    'import sys\nsys.setrecursionlimit(10 ** 9)\nx = []\nfor _ in range(10 ** 6): x = [x]\nrepr(x)',
    'class E(BaseException):\n  def __str__(self): raise E\nraise E',
    'import ctypes\nctypes.string_at(0)',
    'import os\nos.abort()',
    'import sys\nsys.exit(3)',
    'import sys\nsys.excepthook = print\nraise SystemExit("no")',
    'import sys\nsys.modules.clear()\nraise ValueError',
    'import builtins\nbuiltins.__dict__.clear()\nx()',
    'import threading\nthreading._shutdown = None\nthreading.main_thread = None\nraise KeyError',
    'import signal, os\nos.kill(os.getpid(), signal.SIGSEGV)\nraise KeyError',
    'import sys\nsys.settrace(lambda *a: 1 / 0)\ndef f(): pass\nf()',
    'try:\n' * 90 + '  pass',
    'import json, sys\njson.dumps = None\nraise SystemExit(1)',
  ],
)
def test_what_goes_wrong_is_a_status_and_no_more(box, source):
  found = run(box, source)
  silent = 'os.close(fd)' in source  # all is closed, nothing printed, and no error
  assert (found.status == 0) == silent, found


def test_output_is_kept_as_it_is(box):
  source = 'import sys\nsys.stdout.buffer.write(sys.stdin.buffer.read())'
  for given in (bytes(range(256)), b'\x00\xff\r\n' * 9000):
    assert run(box, source, given).stdout == given


@pytest.mark.parametrize('name', ['namespaces', 'without'])
def test_programs_end_when_the_trainer_is_killed(name):
  if not all(protections(name).values()):
    pytest.skip(f'This machine cannot do it: {protections(name)}')
  worker = [sys.executable, str(pathlib.Path(__file__).with_name('code_worker.py'))]
  trainer = subprocess.Popen(
    [*worker, *MECHANISMS[name]],
    stdout=subprocess.PIPE,
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
  )
  try:
    zygote = int(trainer.stdout.readline())
    deadline = time.monotonic() + 60
    while not (found := children(zygote)) and time.monotonic() < deadline:
      time.sleep(0.01)
    assert found
  finally:
    trainer.send_signal(signal.SIGKILL)
    trainer.wait()
    trainer.stdout.close()
  while time.monotonic() < deadline and any(map(alive, [zygote, *found])):
    time.sleep(0.01)
  assert not any(map(alive, [zygote, *found]))


def alive(pid):
  """Whether it runs; what has ended may wait for an init that takes no notice."""
  try:
    return pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] not in 'ZX'
  except OSError:
    return False


def test_capabilities_name_what_enforces_them():
  found = sandbox.capabilities()
  assert set(found) == {'files', 'network', 'processes'}
  assert set(found.values()) <= {'namespace', 'landlock', 'seccomp', ''}
  assert set(sandbox.capabilities(sandbox.MECHANISMS).values()) == {''}
