"""Errors that a command reports in a sentence instead of a traceback."""


class UserError(ValueError):
  """Something the user gave does not work; the message says what, and what would."""


class RunError(RuntimeError):
  """A run cannot go on, as on a full disk; the message says what is safe and what to do."""


class Interrupted(Exception):
  """A signal ended a run early, with everything saved.

  Attributes:
    exit_status: 128 plus the signal's number, as a shell reports it.
  """

  def __init__(self, exit_status: int, message: str):
    super().__init__(message)
    self.exit_status = exit_status
