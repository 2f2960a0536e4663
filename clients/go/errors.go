package wardtune

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// FieldViolation is one field of a request, or one line of a data set, that the server refused.
type FieldViolation struct {
	Field       string
	Description string
}

// Error is what the server answered instead of OK.
type Error struct {
	Code    codes.Code
	Message string
	// Reason is the server's stable machine-readable reason; empty when it gave none.
	Reason string
	// Violations names the fields or lines at fault.
	Violations []FieldViolation
	// RetryAfter is when the server said to try again; 0 when it did not.
	RetryAfter time.Duration
}

// Error gives the message and the fields at fault in one line.
func (e *Error) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s: %s", e.Code, e.Message)
	for _, violation := range e.Violations {
		fmt.Fprintf(&text, "; %s: %s", violation.Field, violation.Description)
	}
	return text.String()
}

// GRPCStatus lets status.Code and status.FromError see through the error.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.Code, e.Message) }

// JobFailedError says that a job that was waited for ended without an adapter.
type JobFailedError struct {
	Job     string
	Code    string
	Message string
}

func (e *JobFailedError) Error() string {
	return fmt.Sprintf("%s ended without an adapter: %s: %s", e.Job, e.Code, e.Message)
}

func fromStatus(err error) error {
	answer, ok := status.FromError(err)
	if !ok || err == nil {
		return err
	}
	result := &Error{Code: answer.Code(), Message: answer.Message()}
	for _, detail := range answer.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			result.Reason = detail.GetReason()
		case *errdetails.BadRequest:
			for _, v := range detail.GetFieldViolations() {
				result.Violations = append(result.Violations,
					FieldViolation{Field: v.GetField(), Description: v.GetDescription()})
			}
		case *errdetails.QuotaFailure:
			for _, v := range detail.GetViolations() {
				result.Violations = append(result.Violations,
					FieldViolation{Field: v.GetSubject(), Description: v.GetDescription()})
			}
		case *errdetails.RetryInfo:
			result.RetryAfter = detail.GetRetryDelay().AsDuration()
		}
	}
	return result
}
