"""Settings that every test shares: four CPU devices, no silent broadcasting, programs kept."""

import os
import pathlib

ROOT = pathlib.Path(__file__).parents[1]

# For the commands that tests start as well: the same program is compiled once for all of them.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(ROOT / '.pytest_cache' / 'xla'))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.3')

import jax  # noqa: E402, it reads the environment
import pytest  # noqa: E402

jax.config.update('jax_num_cpu_devices', 4)
jax.config.update('jax_numpy_rank_promotion', 'raise')

collect_ignore_glob = ['*_worker.py']  # programs that tests start


@pytest.fixture(autouse=True, scope='module')
def few_programs():
  """Lets go of compiled programs now and then: with gigabytes of them the compiler has crashed."""
  yield
  statm = pathlib.Path('/proc/self/statm')
  if statm.exists() and int(statm.read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE') > 2**31:
    jax.clear_caches()
