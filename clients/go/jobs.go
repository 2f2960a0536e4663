package wardtune

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	wardtunev1 "github.com/wardtune/wardtune/clients/go/gen/wardtune/v1"
)

// A watch is renewed after this long, so that a connection that died unnoticed does not hang it.
const watchTimeout = 2 * time.Minute

// CreateJob queues a fine-tuning job. An empty RequestId gets a new one.
func (c *Client) CreateJob(
	ctx context.Context, request *wardtunev1.CreateFineTuningJobRequest,
) (*wardtunev1.FineTuningJob, error) {
	if request.GetRequestId() == "" {
		// The caller's stays as it is: sent twice it means two jobs.
		request = proto.Clone(request).(*wardtunev1.CreateFineTuningJobRequest)
		request.RequestId = newRequestID()
	}
	response, err := call(ctx, c, c.jobs.CreateFineTuningJob, request)
	return response.GetJob(), err
}

// GetJob returns a job with its queue position or progress.
func (c *Client) GetJob(ctx context.Context, name string) (*wardtunev1.FineTuningJob, error) {
	response, err := call(ctx, c, c.jobs.GetFineTuningJob,
		&wardtunev1.GetFineTuningJobRequest{Name: name})
	return response.GetJob(), err
}

// CancelJob cancels a job; a running one stops with its next heartbeat.
func (c *Client) CancelJob(ctx context.Context, name string) (*wardtunev1.FineTuningJob, error) {
	response, err := call(ctx, c, c.jobs.CancelFineTuningJob,
		&wardtunev1.CancelFineTuningJobRequest{Name: name, RequestId: newRequestID()})
	return response.GetJob(), err
}

// WaitForJob blocks until the job has ended and returns it, SUCCEEDED. onEvent, if not nil, sees
// every event once and in order. A *JobFailedError says why there is no adapter; ctx's error comes
// back when ctx ends first, the job going on.
func (c *Client) WaitForJob(
	ctx context.Context, name string, onEvent func(*wardtunev1.JobEvent),
) (*wardtunev1.FineTuningJob, error) {
	tries := tries{client: c, transfer: true}
	var sequence int64
	for {
		received, err := c.watch(ctx, name, &sequence, onEvent)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if received {
			tries.progressed()
		}
		if status := asError(err); status != nil && status.Code == codes.DeadlineExceeded {
			tries.progressed() // a quiet watch that lasted is no failure
			continue
		}
		if err != nil {
			if again := tries.wait(ctx, err); again != nil {
				return nil, again
			}
			continue
		}
		job, err := c.GetJob(ctx, name)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			if again := tries.wait(ctx, err); again != nil {
				return nil, again
			}
			continue
		}
		switch job.GetState() {
		case wardtunev1.FineTuningJob_STATE_SUCCEEDED:
			return job, nil
		case wardtunev1.FineTuningJob_STATE_FAILED, wardtunev1.FineTuningJob_STATE_CANCELLED:
			return job, &JobFailedError{Job: name, Code: job.GetErrorCode(), Message: job.GetErrorMessage()}
		}
		// The server ended the stream before the job: as good as a broken connection.
		early := &Error{Code: codes.Unavailable, Message: "the server ended the watch of " + name}
		if again := tries.wait(ctx, early); again != nil {
			return nil, again
		}
	}
}

// watch follows one stream to its end, OK being nil, and moves sequence on.
func (c *Client) watch(
	ctx context.Context, name string, sequence *int64, onEvent func(*wardtunev1.JobEvent),
) (received bool, err error) {
	ctx, cancel := context.WithTimeout(c.authorize(ctx), watchTimeout)
	defer cancel()
	stream, err := c.jobs.WatchFineTuningJob(ctx,
		&wardtunev1.WatchFineTuningJobRequest{Name: name, AfterSequence: *sequence})
	if err != nil {
		return false, fromStatus(err)
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return received, nil
		}
		if err != nil {
			return received, fromStatus(err)
		}
		received = true
		*sequence = response.GetEvent().GetSequence()
		if onEvent != nil {
			onEvent(response.GetEvent())
		}
	}
}

func asError(err error) *Error {
	var answer *Error
	if errors.As(err, &answer) {
		return answer
	}
	return nil
}
