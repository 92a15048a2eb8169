"""The error tree. Catch the class, never the text.

RaygenError                     anything raygen raises on purpose                      exit code 1
|-- UserError                   wrong configuration or input; nothing was started      exit code 2
|   |-- ConfigError             a key, a value, a template, a step
|   |-- SourceError             the input: missing, unreadable, without the columns, duplicate ids
|   |-- AccessError             a bucket or credential
|   |-- ModelReferenceError     a model reference that does not resolve, pickled weights
|   |-- RunConflictError        the output holds another job's run
|   `-- EngineConfigError       (also an EngineError) the engine cannot do what the job says: key, model, address
|-- RowError                    one row's failure: becomes a failed outcome, never stops a run
|   `-- UnaskedError            a row that no engine has begun when its batch is over
|-- EngineError                 the engine itself is broken: ends its actor, which is started again
|-- UnavailableError            a served model cannot take a request now; nothing is wrong with the request
|   |-- BusyError               its queue is full
|   |-- ModelLoadingError       no replica holds it yet
|   `-- ReplicaLostError        the replica died while it answered
|-- StorageError                the store refused or did not answer
|   |-- KeyNotFoundError        no object under this key
|   `-- UnknownResultError      a write whose fate is unknown: read before you retry
|-- CorruptDataError            bytes do not match their recorded digest
|-- ChunkIntegrityError         a chunk came out with other rows than it went in with; nothing was committed
|-- MetricInputError            what a metric was given does not fit: shapes, labels, values that are not finite
|-- TrainingError               a training cannot go on: loss not finite, no memory; its last checkpoint stays
|-- AttemptExpiredError         a chunk attempt outlived its limit and must not write any more
`-- InterruptedRunError         stopped by the user or a budget; the same command resumes    exit code 130
"""

from __future__ import annotations

from typing import ClassVar


class RaygenError(Exception):
    """Anything that raygen raises on purpose."""

    exit_code = 1


class UserError(RaygenError):
    """A wrong configuration or input; nothing was started."""

    exit_code = 2


class ConfigError(UserError):
    """A key, a value, a template or a step is wrong."""


class SourceError(UserError):
    """The input is missing, unreadable, without the columns, or has ids twice."""


class AccessError(UserError):
    """A bucket or a credential does not give access."""


class ModelReferenceError(UserError):
    """A model reference does not resolve, or its weights are pickled."""


class RunConflictError(UserError):
    """The output holds another job's run."""


class RowError(RaygenError):
    """One row's failure.

    Args:
        code: a stable word that programs match on, such as `prompt_too_long`.
        message: for a person; names what was given and what is allowed.
        step: the step that failed; filled in by the program when the raiser does not know it.
        public: what people are told instead who only asked the model something; to be given where `message` says what a
            library or an endpoint said. None: `message` itself.
    """

    def __init__(self, code: str, message: str, step: str | None = None, public: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.step = step
        self.public = public

    def __reduce__(self) -> tuple[type, tuple[str, str, str | None, str | None]]:
        return (RowError, (self.code, self.message, self.step, self.public))


class UnaskedError(RowError):
    """A row that no engine has begun when its batch is over: it is not asked any more."""


class EngineError(RaygenError):
    """An engine is broken as a whole.

    Its message is for whoever runs the job: it may name paths and addresses, and say what a library or an endpoint said. A
    run prints and records it. A server keeps it to its log, and tells its clients `code` and `public` instead.

    Attributes:
        code: a stable word that programs match on.
        public: a sentence for people who only asked the model something.
    """

    code: ClassVar[str] = "engine_failed"
    public: ClassVar[str] = "the model cannot answer now"


class EngineConfigError(UserError, EngineError):
    """An engine cannot do what the job says."""

    code = "engine_misconfigured"
    public = "the model is not set up to answer this"


class UnavailableError(RaygenError):
    """A served model cannot take a request now. Nothing is wrong with the request: it may be sent again.

    Attributes:
        code: a stable word that programs match on.
        retry_after_s: when it is worth asking again, in seconds.
    """

    code: ClassVar[str] = "unavailable"

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[type, tuple[str, float]]:
        return (type(self), (self.message, self.retry_after_s))


class BusyError(UnavailableError):
    """The queue of a served model is full."""

    code = "model_busy"


class ModelLoadingError(UnavailableError):
    """No replica holds the model yet."""

    code = "model_loading"


class ReplicaLostError(UnavailableError):
    """The replica died while it answered."""

    code = "engine_lost"


class StorageError(RaygenError):
    """The store refused or did not answer."""


class KeyNotFoundError(StorageError):
    """There is no object under this key."""


class UnknownResultError(StorageError):
    """The fate of a write is unknown: read before you retry."""


class CorruptDataError(RaygenError):
    """Bytes do not match their recorded digest."""


class ChunkIntegrityError(RaygenError):
    """A chunk came out with other rows than it went in with; nothing was committed."""


class MetricInputError(RaygenError):
    """What a metric was given does not fit: shapes, labels, or values that are not finite."""


class TrainingError(RaygenError):
    """A training cannot go on: the loss is not finite, or memory ran out; its last checkpoint stays."""


class AttemptExpiredError(RaygenError):
    """A chunk attempt outlived its limit and must not write any more."""


class InterruptedRunError(RaygenError):
    """The user or a budget stopped it; the same command resumes."""

    exit_code = 130


def told(error: BaseException) -> str:
    """Return what somebody else's exception says, whatever it does when it is asked: its class, and a text that can be stored."""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - also `sys.exit()` in a `__str__`
        text = "(it cannot say what is wrong)"
    return f"{type(error).__name__}: {storable(text)}"


def storable(text: str) -> str:
    """Return a text with halves of surrogate pairs, which no encoding holds, written out."""
    return text.encode("utf-8", "backslashreplace").decode()


def first_line(error: BaseException) -> str:
    """Return the class of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
