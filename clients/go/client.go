// Package wardtune fine-tunes language models on a wardtune server: it uploads data sets, creates
// jobs, waits for them and downloads the adapters.
//
// Calls have deadlines. UNAVAILABLE is tried again, a change only with a request id that lets the
// server know the second try for what it is. Uploads and downloads go on where they broke off.
package wardtune

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	wardtunev1 "github.com/wardtune/wardtune/clients/go/gen/wardtune/v1"
)

// Options change how a Client connects and how patient it is. Zero values mean the defaults.
type Options struct {
	// TLS is used for the connection. Nil means the system's roots, or plain text when the target
	// is this machine.
	TLS *tls.Config
	// Timeout bounds one call with all its tries. Default 30 s.
	Timeout time.Duration
	// StreamTimeout bounds one upload or download stream. Default 1 h.
	StreamTimeout time.Duration
	// MaxAttempts bounds the tries of one call. Default 6.
	MaxAttempts int
	// Patience bounds how long an upload, a download or a watch, which go on where they broke off,
	// is tried without coming any further. Default 2 min, enough for a server to restart.
	Patience time.Duration
	// FirstWait is the wait after the first failure; it doubles up to 5 s. Default 100 ms.
	FirstWait time.Duration
}

// Client speaks to one server with one API key. Safe for use by several goroutines.
type Client struct {
	connection *grpc.ClientConn
	datasets   wardtunev1.DatasetServiceClient
	jobs       wardtunev1.FineTuningServiceClient
	adapters   wardtunev1.AdapterServiceClient
	options    Options
	apiKey     string
}

const (
	maxWait = 5 * time.Second
	// The largest answer is a page of 1000 resources.
	maxMessageBytes = 16 << 20
)

// New returns a client of the server at target, host:port. The caller closes it.
func New(target, apiKey string, options Options) (*Client, error) {
	host, _, err := net.SplitHostPort(target)
	if err != nil {
		return nil, fmt.Errorf("target %q: want host:port: %w", target, err)
	}
	if options.Timeout == 0 {
		options.Timeout = 30 * time.Second
	}
	if options.StreamTimeout == 0 {
		options.StreamTimeout = time.Hour
	}
	if options.MaxAttempts == 0 {
		options.MaxAttempts = 6
	}
	if options.Patience == 0 {
		options.Patience = 2 * time.Minute
	}
	if options.FirstWait == 0 {
		options.FirstWait = 100 * time.Millisecond
	}
	transport := credentials.NewTLS(options.TLS)
	if options.TLS == nil && isLoopback(host) {
		transport = insecure.NewCredentials()
	}
	connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(transport),
		// A server that vanished without a word ends a stream within this time.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 30 * time.Second, Timeout: 20 * time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes)))
	if err != nil {
		return nil, fmt.Errorf("target %q: %w", target, err)
	}
	return &Client{
		connection: connection,
		datasets:   wardtunev1.NewDatasetServiceClient(connection),
		jobs:       wardtunev1.NewFineTuningServiceClient(connection),
		adapters:   wardtunev1.NewAdapterServiceClient(connection),
		options:    options,
		apiKey:     apiKey,
	}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.connection.Close() }

func isLoopback(host string) bool {
	address := net.ParseIP(host)
	return host == "localhost" || (address != nil && address.IsLoopback())
}

func (c *Client) authorize(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.apiKey)
}

// call runs one unary method under the client's deadline, again while the server is UNAVAILABLE.
// Requests that change something must carry a request id.
func call[Request, Response any](
	ctx context.Context, c *Client,
	method func(context.Context, Request, ...grpc.CallOption) (Response, error), request Request,
) (Response, error) {
	ctx, cancel := context.WithTimeout(c.authorize(ctx), c.options.Timeout)
	defer cancel()
	tries := tries{client: c}
	for {
		response, err := method(ctx, request)
		if err == nil {
			return response, nil
		}
		err = fromStatus(err)
		if again := tries.wait(ctx, err); again != nil {
			return response, again
		}
	}
}

// tries counts failures in a row.
type tries struct {
	client   *Client
	failures int
	// Of a transfer that goes on where it broke: bounded by time without progress, not by number.
	transfer bool
	since    time.Time
	waited   time.Duration
}

// progressed starts the count anew.
func (t *tries) progressed() {
	*t = tries{client: t.client, transfer: t.transfer}
}

// over says whether another try, after wait, is one too many.
func (t *tries) over(wait time.Duration) bool {
	if !t.transfer {
		return t.failures >= t.client.options.MaxAttempts
	}
	if t.since.IsZero() {
		t.since = time.Now()
	}
	t.waited += wait
	return max(t.waited, time.Since(t.since)+wait) > t.client.options.Patience
}

// wait returns nil when the call is to be tried again, after the time that takes; else the error.
func (t *tries) wait(ctx context.Context, err error) error {
	var answer *Error
	if !errors.As(err, &answer) || answer.Code != codes.Unavailable {
		return err
	}
	t.failures++
	wait := min(maxWait, t.client.options.FirstWait<<min(t.failures-1, 16))
	wait = wait/2 + rand.N(wait/2+1)
	if answer.RetryAfter > 0 {
		wait = answer.RetryAfter
	}
	if t.over(wait) {
		return err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return err
	}
}
