"""wardtune: fine-tuning as a service in which harmful behaviour does not take."""

from wardtune.adapters import extract
from wardtune.client import Client
from wardtune.datasets import UploadResult
from wardtune.errors import (
    AbortedError,
    AlreadyExistsError,
    CancelledError,
    DataLossError,
    DeadlineExceededError,
    FailedPreconditionError,
    FieldViolation,
    InternalError,
    InvalidArgumentError,
    JobFailedError,
    NotFoundError,
    OutOfRangeError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
    WardtuneError,
)
from wardtune.jobs import Job
from wardtune.transport import RetryPolicy
from wardtune.v1.adapter_service_pb2 import AdapterAudit
from wardtune.v1.fine_tuning_service_pb2 import FineTuningJob, Hyperparameters
from wardtune.v1.output_report_service_pb2 import OutputReport
from wardtune.v1.security_vector_service_pb2 import SecurityVectorRecipe

__all__ = [
    "AbortedError",
    "AdapterAudit",
    "AlreadyExistsError",
    "CancelledError",
    "Client",
    "DataLossError",
    "DeadlineExceededError",
    "FailedPreconditionError",
    "FieldViolation",
    "FineTuningJob",
    "Hyperparameters",
    "InternalError",
    "InvalidArgumentError",
    "Job",
    "JobFailedError",
    "NotFoundError",
    "OutOfRangeError",
    "OutputReport",
    "PermissionDeniedError",
    "ResourceExhaustedError",
    "RetryPolicy",
    "SecurityVectorRecipe",
    "UnauthenticatedError",
    "UnavailableError",
    "UploadResult",
    "WardtuneError",
    "extract",
]
