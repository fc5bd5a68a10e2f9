"""What kafka-python raises, in the words of ``pipeline.errors``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NoReturn

from kafka import errors as kafka_errors

from pipeline.connectors.limits import batch_bytes, too_large
from pipeline.errors import MotetError, Refused, Transient
from pipeline.slot.ports import OutRecord

_TOO_LARGE = (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError)
_FORBIDDEN = (kafka_errors.AuthorizationError, kafka_errors.SaslAuthenticationFailedError)
_FENCED = (kafka_errors.ProducerFencedError, kafka_errors.InvalidProducerEpochError)
_NEVER = (
    kafka_errors.InvalidTopicError,
    kafka_errors.InvalidPartitionsError,
    kafka_errors.InvalidReplicationFactorError,
    kafka_errors.InvalidConfigurationError,
    kafka_errors.PolicyViolationError,
)


_FORBIDDEN_NAMES = tuple(kind.__name__ for kind in kafka_errors.AuthorizationError.__subclasses__())


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it hides: its causes, and the errors among its arguments.

    A fatal or fenced producer mostly surfaces as a plain KafkaError that carries the cause.
    """
    while error is not None:
        yield error
        for argument in error.args:
            if isinstance(argument, BaseException):
                yield from causes(argument)
        hidden = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ or hidden


def looks_fenced(*errors: BaseException | None) -> bool:
    """Whether the broker knows a newer epoch: a newer owner's, or its own after a timeout."""
    return any(isinstance(cause, _FENCED) for error in errors for cause in causes(error))


def reraise(error: BaseException, as_error: BaseException) -> NoReturn:
    """Raises ``as_error``, caused by ``error`` unless they are one."""
    if as_error is error:
        raise error
    raise as_error from error


def translated(what: str, *errors: BaseException | None) -> MotetError:
    """The error to raise for ``errors``, of which the first is the one that surfaced."""
    found = [cause for error in errors for cause in causes(error)]
    for cause in found:
        if isinstance(cause, MotetError):
            return cause
    for cause in found:
        if isinstance(cause, _FORBIDDEN) or _names_forbidden(cause):
            return Refused(
                f"{what}: {_text(cause)}: the broker does not permit it; grant the right to "
                "this user, or correct kafka.client"
            )
        if isinstance(cause, _NEVER):
            return Refused(f"{what}: {_text(cause)}; correct what was asked for")
    return Transient(f"{what}: {_text(found[0])}")


def _names_forbidden(error: BaseException) -> bool:
    """Whether it is what a transaction makes of such an error: a plain one that only names it."""
    return type(error) is kafka_errors.KafkaError and any(
        name in str(error) for name in _FORBIDDEN_NAMES
    )


def is_too_large(error: BaseException | None) -> bool:
    return any(isinstance(cause, _TOO_LARGE) for cause in causes(error))


def largest_error(records: Sequence[OutRecord]) -> Refused:
    """Names the largest record: the client gives the error of one to its neighbours too."""
    record = max(records, key=batch_bytes)
    return too_large(record.topic, record.partition, batch_bytes(record), None)


def _text(error: BaseException) -> str:
    """One line, whatever the client has put into its message."""
    text = " ".join(str(error).split())
    name = type(error).__name__
    return text if name in text else f"{name}: {text}" if text else name
