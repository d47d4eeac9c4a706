"""Settings that every test shares: four CPU devices, no silent broadcasting, programs kept."""

import os
import pathlib

ROOT = pathlib.Path(__file__).parents[1]

# For the commands that tests start as well: the same program is compiled once for all of them.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(ROOT / '.pytest_cache' / 'xla'))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.3')

import jax  # noqa: E402, it reads the environment

jax.config.update('jax_num_cpu_devices', 4)
jax.config.update('jax_numpy_rank_promotion', 'raise')

collect_ignore_glob = ['*_worker.py']  # programs that tests start
