package wardtune

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	wardtunev1 "github.com/wardtune/wardtune/clients/go/gen/wardtune/v1"
)

func pattern(size int) []byte {
	content := make([]byte, size)
	for i := range content {
		content[i] = byte(i % 251)
	}
	return content
}

func TestCallsCarryKeyAndDeadline(t *testing.T) {
	script := &scriptedServer{}
	client := connect(t, script)
	if _, err := client.CreateJob(t.Context(), &wardtunev1.CreateFineTuningJobRequest{}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(script.authorizations, []string{"Bearer " + testKey}) {
		t.Errorf("authorization = %q", script.authorizations)
	}
	if !slices.Equal(script.deadlines, []bool{true}) {
		t.Errorf("calls with a deadline: %v", script.deadlines)
	}
}

func TestUnavailableIsTriedAgainUnderOneRequestID(t *testing.T) {
	script := &scriptedServer{failures: []error{
		status.Error(codes.Unavailable, "1"), status.Error(codes.Unavailable, "2"),
	}}
	client := connect(t, script)
	if _, err := client.CreateJob(t.Context(), &wardtunev1.CreateFineTuningJobRequest{}); err != nil {
		t.Fatal(err)
	}
	ids := script.requestIDs
	if len(ids) != 3 || ids[0] == "" || ids[0] != ids[1] || ids[1] != ids[2] {
		t.Errorf("request ids = %q, want one id three times", ids)
	}
}

func TestOtherCodesAreNotTriedAgain(t *testing.T) {
	script := &scriptedServer{failures: []error{status.Error(codes.Internal, "no")}}
	client := connect(t, script)
	_, err := client.CreateJob(t.Context(), &wardtunev1.CreateFineTuningJobRequest{})
	if status.Code(err) != codes.Internal || len(script.requestIDs) != 1 {
		t.Errorf("err = %v after %d calls", err, len(script.requestIDs))
	}
}

func TestErrorCarriesReasonAndFields(t *testing.T) {
	refusal, err := status.New(codes.InvalidArgument, "a field is wrong").WithDetails(
		&errdetails.ErrorInfo{Reason: "BAD_FIELD"},
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
			{Field: "dataset", Description: "is empty"},
		}})
	if err != nil {
		t.Fatal(err)
	}
	client := connect(t, &scriptedServer{failures: []error{refusal.Err()}})
	_, err = client.CreateJob(t.Context(), &wardtunev1.CreateFineTuningJobRequest{})
	var got *Error
	if !errors.As(err, &got) {
		t.Fatalf("err = %T %v, want *Error", err, err)
	}
	want := &Error{
		Code: codes.InvalidArgument, Message: "a field is wrong", Reason: "BAD_FIELD",
		Violations: []FieldViolation{{Field: "dataset", Description: "is empty"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestBrokenUploadGoesOnWhereTheServerStopped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rows.jsonl")
	content := pattern(3*chunkBytes + 17)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	script := &scriptedServer{breakUpload: []int{1, 1}}
	client := connect(t, script)
	upload, err := client.UploadDataset(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if upload.Dataset.GetState() != wardtunev1.Dataset_STATE_READY {
		t.Errorf("state = %s", upload.Dataset.GetState())
	}
	if !bytes.Equal(script.uploaded, content) {
		t.Error("the server has other bytes than the file")
	}
	if want := []int64{0, chunkBytes, 2 * chunkBytes}; !slices.Equal(script.offsets, want) {
		t.Errorf("offsets = %d, want %d", script.offsets, want)
	}
}

func upload(t *testing.T, script *scriptedServer, content []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rows.jsonl")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := connect(t, script).UploadDataset(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(script.uploaded, content) {
		t.Error("the server has other bytes than the file")
	}
	for _, size := range script.sizes {
		if size != int64(len(content)) {
			t.Errorf("a header said %d bytes, want %d", size, len(content))
		}
	}
}

// A request that was sent twice carried the id of the first, and made no second job.
func TestCreateJobLeavesTheCallersRequestAsItIs(t *testing.T) {
	client := connect(t, &scriptedServer{})
	request := &wardtunev1.CreateFineTuningJobRequest{Dataset: "d"}
	if _, err := client.CreateJob(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if request.GetRequestId() != "" {
		t.Errorf("request id = %q, want none", request.GetRequestId())
	}
}

// The server had not yet noticed that the broken stream was dead, and the upload failed.
func TestUploadWaitsForTheEndOfItsBrokenStream(t *testing.T) {
	script := &scriptedServer{breakUpload: []int{2}, abortUploads: 3}
	upload(t, script, pattern(3*chunkBytes))
}

func TestUploadOutlastsARestartOfTheServer(t *testing.T) {
	script := &scriptedServer{breakUpload: []int{1, 1}}
	for range 20 {
		script.lookFailures = append(script.lookFailures, status.Error(codes.Unavailable, "away"))
	}
	upload(t, script, pattern(3*chunkBytes))
}

func TestUploadGoesOnFromTheBytesThatTheServerHas(t *testing.T) {
	script := &scriptedServer{breakUpload: []int{2}, loseBytesTo: 10}
	upload(t, script, pattern(3*chunkBytes))
	if want := []int64{0, 2 * chunkBytes, 10}; !slices.Equal(script.offsets, want) {
		t.Errorf("offsets = %d, want %d", script.offsets, want)
	}
}

func TestWaitSurvivesBrokenWatches(t *testing.T) {
	script := &scriptedServer{
		jobs: []*wardtunev1.FineTuningJob{
			{Name: testJob, State: wardtunev1.FineTuningJob_STATE_SUCCEEDED, Adapter: testAdapter},
		},
		events:     []*wardtunev1.JobEvent{{Sequence: 1}, {Sequence: 4}, {Sequence: 5}, {Sequence: 9}},
		breakWatch: []int{1, 2},
	}
	client := connect(t, script)
	var seen []int64
	job, err := client.WaitForJob(t.Context(), testJob, func(event *wardtunev1.JobEvent) {
		seen = append(seen, event.GetSequence())
	})
	if err != nil || job.GetAdapter() != testAdapter {
		t.Fatalf("job = %v, err = %v", job, err)
	}
	if want := []int64{1, 4, 5, 9}; !slices.Equal(seen, want) {
		t.Errorf("events = %d, want %d", seen, want)
	}
	if want := []int64{0, 1, 5}; !slices.Equal(script.watchedAfter, want) {
		t.Errorf("watched after %d, want %d", script.watchedAfter, want)
	}
}

func TestFailedJobIsAnError(t *testing.T) {
	client := connect(t, &scriptedServer{jobs: []*wardtunev1.FineTuningJob{{
		Name: testJob, State: wardtunev1.FineTuningJob_STATE_FAILED, ErrorCode: "LOSS_NOT_FINITE",
	}}})
	_, err := client.WaitForJob(t.Context(), testJob, nil)
	var failed *JobFailedError
	if !errors.As(err, &failed) || failed.Code != "LOSS_NOT_FINITE" {
		t.Errorf("err = %v, want a JobFailedError with the code", err)
	}
}

func TestBrokenDownloadGoesOnAtItsOffset(t *testing.T) {
	script := &scriptedServer{archive: pattern(5500), breakDownload: []int{2, 1}}
	client := connect(t, script)
	path := filepath.Join(t.TempDir(), "adapter.tar")
	if err := client.DownloadAdapter(t.Context(), testAdapter, path); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, script.archive) {
		t.Errorf("the file differs from the archive (err = %v)", err)
	}
	if want := []int64{0, 2000, 3000}; !slices.Equal(script.offsets, want) {
		t.Errorf("offsets = %d, want %d", script.offsets, want)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("%d files in the folder, want the adapter alone (err = %v)", len(left), err)
	}
}

func TestAlteredBytesNeverGetTheName(t *testing.T) {
	client := connect(t, &scriptedServer{archive: pattern(5500), wrongDigest: true})
	folder := t.TempDir()
	err := client.DownloadAdapter(t.Context(), testAdapter, filepath.Join(folder, "adapter.tar"))
	if !errors.Is(err, ErrChecksum) {
		t.Errorf("err = %v, want ErrChecksum", err)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
		t.Errorf("%d files left, want none (err = %v)", len(left), err)
	}
}
