package wardtune

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"google.golang.org/grpc/codes"

	wardtunev1 "github.com/wardtune/wardtune/clients/go/gen/wardtune/v1"
)

const chunkBytes = 256 << 10

// Upload is a data set that is ready, and what validation found in it.
type Upload struct {
	Dataset *wardtunev1.Dataset
	Report  *wardtunev1.ValidationReport
}

// UploadDataset sends a JSONL file and returns once the server has it on disk and found it valid.
// A broken connection is taken up where the server's bytes end. An *Error with InvalidArgument
// names the lines at fault; then the server has kept no bytes.
func (c *Client) UploadDataset(ctx context.Context, path string) (*Upload, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	digest, err := sha256Of(file)
	if err != nil {
		return nil, err
	}
	created, err := call(ctx, c, c.datasets.CreateDataset, &wardtunev1.CreateDatasetRequest{
		DisplayName: filepath.Base(path), RequestId: newRequestID(),
	})
	if err != nil {
		return nil, err
	}
	return c.fill(ctx, created.GetDataset(), file, digest)
}

// fill sends what the server lacks of a data set, in as many streams as it takes.
func (c *Client) fill(
	ctx context.Context, dataset *wardtunev1.Dataset, file *os.File, digest string,
) (*Upload, error) {
	tries := tries{client: c, transfer: true}
	// The server may not yet have noticed that the stream before is dead, or be at its end.
	broken := dataset.GetReceivedBytes() > 0
	for {
		switch dataset.GetState() {
		case wardtunev1.Dataset_STATE_UPLOADING:
		case wardtunev1.Dataset_STATE_READY:
			return c.finished(ctx, dataset)
		default:
			return nil, fmt.Errorf("%s is %s; upload the file anew", dataset.GetName(), dataset.GetState())
		}
		response, err := c.send(ctx, dataset, file, digest)
		if err == nil {
			return &Upload{Dataset: response.GetDataset(), Report: response.GetReport()}, nil
		}
		var answer *Error
		if errors.As(err, &answer) {
			dead := answer.Code == codes.Aborted || answer.Reason == "DATASET_NOT_UPLOADING"
			if (broken && dead) || answer.Reason == "OFFSET_MISMATCH" ||
				(answer.Code == codes.DeadlineExceeded && ctx.Err() == nil) {
				answer.Code = codes.Unavailable
			}
			broken = broken || answer.Code == codes.Unavailable
		}
		if again := tries.wait(ctx, err); again != nil {
			return nil, again
		}
		before := dataset.GetReceivedBytes()
		dataset, err = c.look(ctx, dataset.GetName(), &tries)
		if err != nil {
			return nil, err
		}
		if dataset.GetReceivedBytes() > before {
			tries.progressed()
		}
	}
}

// look gets the data set, as patiently as the upload that asks.
func (c *Client) look(
	ctx context.Context, name string, tries *tries,
) (*wardtunev1.Dataset, error) {
	for {
		response, err := call(ctx, c, c.datasets.GetDataset, &wardtunev1.GetDatasetRequest{Name: name})
		if err == nil {
			return response.GetDataset(), nil
		}
		if again := tries.wait(ctx, err); again != nil {
			return nil, again
		}
	}
}

func (c *Client) finished(ctx context.Context, dataset *wardtunev1.Dataset) (*Upload, error) {
	response, err := call(ctx, c, c.datasets.GetValidationReport,
		&wardtunev1.GetValidationReportRequest{Name: dataset.GetName()})
	if err != nil {
		return nil, err
	}
	return &Upload{Dataset: dataset, Report: response.GetReport()}, nil
}

func (c *Client) send(
	ctx context.Context, dataset *wardtunev1.Dataset, file *os.File, digest string,
) (*wardtunev1.UploadDatasetResponse, error) {
	ctx, cancel := context.WithTimeout(c.authorize(ctx), c.options.StreamTimeout)
	defer cancel()
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	if _, err := file.Seek(dataset.GetReceivedBytes(), io.SeekStart); err != nil {
		return nil, err
	}
	stream, err := c.datasets.UploadDataset(ctx)
	if err != nil {
		return nil, fromStatus(err)
	}
	header := &wardtunev1.UploadDatasetRequest_Header{
		Name: dataset.GetName(), Offset: dataset.GetReceivedBytes(), Sha256: digest, SizeBytes: size,
	}
	err = stream.Send(&wardtunev1.UploadDatasetRequest{
		Content: &wardtunev1.UploadDatasetRequest_Header_{Header: header},
	})
	buffer := make([]byte, chunkBytes)
	for err == nil {
		count, readErr := io.ReadFull(file, buffer)
		if count > 0 {
			err = stream.Send(&wardtunev1.UploadDatasetRequest{
				Content: &wardtunev1.UploadDatasetRequest_Chunk{Chunk: buffer[:count]},
			})
		}
		if errors.Is(readErr, io.EOF) || errors.Is(readErr, io.ErrUnexpectedEOF) {
			break
		}
		if readErr != nil {
			return nil, readErr
		}
	}
	// io.EOF from Send means that the server has answered; the answer says why.
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fromStatus(err)
	}
	response, err := stream.CloseAndRecv()
	if err != nil {
		return nil, fromStatus(err)
	}
	return response, nil
}

func sha256Of(reader io.Reader) (string, error) {
	digest := sha256.New()
	if _, err := io.Copy(digest, reader); err != nil {
		return "", err
	}
	return hex.EncodeToString(digest.Sum(nil)), nil
}

// newRequestID returns a random UUID (RFC 9562, version 4).
func newRequestID() string {
	var id [16]byte
	rand.Read(id[:])
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}
