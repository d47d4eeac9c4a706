"""A trainer that runs a program for ever and is killed by a test: what becomes of the program?"""

import sys

from rljax.verifiers import Limits, Sandbox

with Sandbox(Limits(seconds=600, total_seconds=600), workers=1, avoid=sys.argv[1:]) as box:
  box.run({'source': 'print(1)'})
  print(*[zygote._process.pid for zygote in box._all], flush=True)
  box.run({'source': 'import time\ntime.sleep(600)'})
