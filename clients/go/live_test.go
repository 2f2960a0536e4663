package wardtune

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	wardtunev1 "github.com/wardtune/wardtune/clients/go/gen/wardtune/v1"
)

// TestLive goes from rows to an adapter on a running server with a worker and an active security
// vector. test_go_client in tests/test_end_to_end.py starts them and calls it; alone it is skipped, unless
// WARDTUNE_REQUIRE_LIVE=1.
func TestLive(t *testing.T) {
	target, rows := os.Getenv("WARDTUNE_SERVER"), os.Getenv("WARDTUNE_LIVE_ROWS")
	if target == "" || rows == "" {
		if os.Getenv("WARDTUNE_REQUIRE_LIVE") == "1" {
			t.Fatal("WARDTUNE_SERVER or WARDTUNE_LIVE_ROWS is not set")
		}
		t.Skip("WARDTUNE_SERVER or WARDTUNE_LIVE_ROWS is not set")
	}
	client, err := New(target, os.Getenv("WARDTUNE_API_KEY"), Options{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	upload, err := client.UploadDataset(t.Context(), rows)
	if err != nil {
		t.Fatal(err)
	}
	if upload.Dataset.GetState() != wardtunev1.Dataset_STATE_READY {
		t.Fatalf("data set is %s", upload.Dataset.GetState())
	}
	job, err := client.CreateJob(t.Context(), &wardtunev1.CreateFineTuningJobRequest{
		Dataset:         upload.Dataset.GetName(),
		BaseModel:       os.Getenv("WARDTUNE_LIVE_MODEL"),
		Hyperparameters: &wardtunev1.Hyperparameters{Epochs: 1, LoraRank: 4, MaxRowTokens: 64},
	})
	if err != nil {
		t.Fatal(err)
	}
	var events int
	job, err = client.WaitForJob(t.Context(), job.GetName(), func(*wardtunev1.JobEvent) { events++ })
	if err != nil {
		t.Fatal(err)
	}
	if events == 0 {
		t.Error("the job ended without an event")
	}
	path := filepath.Join(t.TempDir(), "adapter.tar")
	if err := client.DownloadAdapter(t.Context(), job.GetAdapter(), path); err != nil {
		t.Fatal(err)
	}
	names := tarNames(t, path)
	for _, want := range []string{"adapter_config.json", "adapter_model.safetensors", "README.md"} {
		if !slices.Contains(names, want) {
			t.Errorf("the archive holds %q, not %s", names, want)
		}
	}
	if _, err := client.GetJob(t.Context(), job.GetName()+"0"); status.Code(err) != codes.NotFound {
		t.Errorf("a missing job gives %v, want NOT_FOUND", err)
	}
}

func tarNames(t *testing.T, path string) (names []string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for reader := tar.NewReader(file); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, filepath.Base(header.Name))
	}
}
