"""Programs that nobody has read, run apart; the standard library only, Linux only."""

from .client import Broken as Broken
from .limits import Limits as Limits
from .pool import MECHANISMS as MECHANISMS
from .pool import Sandbox as Sandbox
from .pool import Unavailable as Unavailable
from .pool import capabilities as capabilities
from .watch import Run as Run
