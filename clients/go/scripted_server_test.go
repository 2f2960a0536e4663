package wardtune

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	wardtunev1 "github.com/wardtune/wardtune/clients/go/gen/wardtune/v1"
)

const (
	testKey     = "wt_test_key"
	testDataset = "tenants/acme/datasets/d1"
	testJob     = "tenants/acme/fineTuningJobs/j1"
	testAdapter = "tenants/acme/adapters/a1"
)

// scriptedServer is a real gRPC server that misbehaves as its fields say: a number in a breakXxx
// list ends one stream, in turn, after that many messages.
type scriptedServer struct {
	wardtunev1.UnimplementedDatasetServiceServer
	wardtunev1.UnimplementedFineTuningServiceServer
	wardtunev1.UnimplementedAdapterServiceServer

	mutex          sync.Mutex
	failures       []error
	requestIDs     []string
	authorizations []string
	deadlines      []bool

	uploaded      []byte
	offsets       []int64
	breakUpload   []int
	abortUploads  int // uploads after the first that end with ABORTED
	loseBytesTo   int // when above 0: what the server has left when the second upload begins
	sizes         []int64
	lookFailures  []error
	jobs          []*wardtunev1.FineTuningJob
	events        []*wardtunev1.JobEvent
	watchedAfter  []int64
	breakWatch    []int
	archive       []byte
	wrongDigest   bool
	breakDownload []int
}

func (s *scriptedServer) begin(ctx context.Context, requestID string) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	values, _ := metadata.FromIncomingContext(ctx)
	s.authorizations = append(s.authorizations, values.Get("authorization")...)
	_, bounded := ctx.Deadline()
	s.deadlines = append(s.deadlines, bounded)
	s.requestIDs = append(s.requestIDs, requestID)
	if len(s.failures) == 0 {
		return nil
	}
	failure := s.failures[0]
	s.failures = s.failures[1:]
	return failure
}

func next(list *[]int) int {
	if len(*list) == 0 {
		return -1
	}
	first := (*list)[0]
	*list = (*list)[1:]
	return first
}

func (s *scriptedServer) dataset() *wardtunev1.Dataset {
	return &wardtunev1.Dataset{
		Name:          testDataset,
		State:         wardtunev1.Dataset_STATE_UPLOADING,
		ReceivedBytes: int64(len(s.uploaded)),
	}
}

func (s *scriptedServer) CreateDataset(
	ctx context.Context, request *wardtunev1.CreateDatasetRequest,
) (*wardtunev1.CreateDatasetResponse, error) {
	if err := s.begin(ctx, request.GetRequestId()); err != nil {
		return nil, err
	}
	return &wardtunev1.CreateDatasetResponse{Dataset: s.dataset()}, nil
}

func (s *scriptedServer) GetDataset(
	context.Context, *wardtunev1.GetDatasetRequest,
) (*wardtunev1.GetDatasetResponse, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if len(s.lookFailures) > 0 {
		failure := s.lookFailures[0]
		s.lookFailures = s.lookFailures[1:]
		return nil, failure
	}
	return &wardtunev1.GetDatasetResponse{Dataset: s.dataset()}, nil
}

func (s *scriptedServer) UploadDataset(stream wardtunev1.DatasetService_UploadDatasetServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if len(s.offsets) > 0 && s.abortUploads > 0 {
		s.abortUploads--
		return status.Error(codes.Aborted, "another stream of this upload is open")
	}
	s.offsets = append(s.offsets, first.GetHeader().GetOffset())
	s.sizes = append(s.sizes, first.GetHeader().GetSizeBytes())
	if s.loseBytesTo > 0 && len(s.offsets) == 2 {
		s.uploaded, s.loseBytesTo = s.uploaded[:s.loseBytesTo], 0
	}
	if first.GetHeader().GetOffset() != int64(len(s.uploaded)) {
		refusal, err := status.New(codes.FailedPrecondition, "wrong offset").WithDetails(
			&errdetails.ErrorInfo{Reason: "OFFSET_MISMATCH"})
		return errors.Join(err, refusal.Err())
	}
	limit := next(&s.breakUpload)
	for received := 1; ; received++ {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		s.uploaded = append(s.uploaded, request.GetChunk()...)
		if received == limit {
			return status.Error(codes.Unavailable, "scripted break")
		}
	}
	if first.GetHeader().GetSha256() != digestOf(s.uploaded) {
		return status.Error(codes.DataLoss, "SHA-256 differs")
	}
	ready := s.dataset()
	ready.State = wardtunev1.Dataset_STATE_READY
	return stream.SendAndClose(&wardtunev1.UploadDatasetResponse{Dataset: ready})
}

func (s *scriptedServer) CreateFineTuningJob(
	ctx context.Context, request *wardtunev1.CreateFineTuningJobRequest,
) (*wardtunev1.CreateFineTuningJobResponse, error) {
	if err := s.begin(ctx, request.GetRequestId()); err != nil {
		return nil, err
	}
	return &wardtunev1.CreateFineTuningJobResponse{
		Job: &wardtunev1.FineTuningJob{Name: testJob},
	}, nil
}

func (s *scriptedServer) GetFineTuningJob(
	context.Context, *wardtunev1.GetFineTuningJobRequest,
) (*wardtunev1.GetFineTuningJobResponse, error) {
	job := s.jobs[0]
	if len(s.jobs) > 1 {
		s.jobs = s.jobs[1:]
	}
	return &wardtunev1.GetFineTuningJobResponse{Job: job}, nil
}

func (s *scriptedServer) WatchFineTuningJob(
	request *wardtunev1.WatchFineTuningJobRequest,
	stream wardtunev1.FineTuningService_WatchFineTuningJobServer,
) error {
	s.watchedAfter = append(s.watchedAfter, request.GetAfterSequence())
	limit := next(&s.breakWatch)
	sent := 0
	for _, event := range s.events {
		if event.GetSequence() <= request.GetAfterSequence() {
			continue
		}
		if err := stream.Send(&wardtunev1.WatchFineTuningJobResponse{Event: event}); err != nil {
			return err
		}
		if sent++; sent == limit {
			return status.Error(codes.Unavailable, "scripted break")
		}
	}
	return nil
}

func (s *scriptedServer) GetAdapter(
	context.Context, *wardtunev1.GetAdapterRequest,
) (*wardtunev1.GetAdapterResponse, error) {
	digest := digestOf(s.archive)
	if s.wrongDigest {
		digest = digestOf([]byte("other bytes"))
	}
	return &wardtunev1.GetAdapterResponse{Adapter: &wardtunev1.Adapter{
		Name: testAdapter, SizeBytes: int64(len(s.archive)), Sha256: digest,
	}}, nil
}

func (s *scriptedServer) DownloadAdapter(
	request *wardtunev1.DownloadAdapterRequest,
	stream wardtunev1.AdapterService_DownloadAdapterServer,
) error {
	s.offsets = append(s.offsets, request.GetOffset())
	limit := next(&s.breakDownload)
	rest := s.archive[request.GetOffset():]
	for sent := 1; len(rest) > 0; sent++ {
		count := min(1000, len(rest))
		if err := stream.Send(&wardtunev1.DownloadAdapterResponse{Chunk: rest[:count]}); err != nil {
			return err
		}
		rest = rest[count:]
		if sent == limit {
			return status.Error(codes.Unavailable, "scripted break")
		}
	}
	return nil
}

func digestOf(content []byte) string {
	digest := sha256.Sum256(content)
	return hex.EncodeToString(digest[:])
}

// connect serves the script on a free port and returns a client of it.
func connect(t *testing.T, script *scriptedServer) *Client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	wardtunev1.RegisterDatasetServiceServer(server, script)
	wardtunev1.RegisterFineTuningServiceServer(server, script)
	wardtunev1.RegisterAdapterServiceServer(server, script)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	client, err := New(listener.Addr().String(), testKey,
		Options{MaxAttempts: 4, FirstWait: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return client
}
