package wardtune

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"google.golang.org/grpc/codes"

	wardtunev1 "github.com/wardtune/wardtune/clients/go/gen/wardtune/v1"
)

// ErrChecksum says that downloaded bytes are not the adapter's; they were deleted.
var ErrChecksum = errors.New("the download's SHA-256 differs from the adapter's; download it again")

// DownloadAdapter writes the adapter's tar file to path. The file appears under its name only when
// it is whole and its SHA-256 is right; until then it grows beside it as .<name>.<sha256>.part,
// from which a later call goes on.
func (c *Client) DownloadAdapter(ctx context.Context, name, path string) error {
	response, err := call(ctx, c, c.adapters.GetAdapter, &wardtunev1.GetAdapterRequest{Name: name})
	if err != nil {
		return err
	}
	adapter := response.GetAdapter()
	part := filepath.Join(filepath.Dir(path),
		fmt.Sprintf(".%s.%.16s.part", filepath.Base(path), adapter.GetSha256()))
	if err := c.fetch(ctx, adapter, part); err != nil {
		return err
	}
	file, err := os.Open(part)
	if err != nil {
		return err
	}
	digest, err := sha256Of(file)
	file.Close()
	if err != nil {
		return err
	}
	if digest != adapter.GetSha256() {
		return errors.Join(fmt.Errorf("%s: %w", name, ErrChecksum), os.Remove(part))
	}
	return os.Rename(part, path)
}

// fetch brings the part file to the adapter's size, in as many streams as it takes.
func (c *Client) fetch(ctx context.Context, adapter *wardtunev1.Adapter, part string) (err error) {
	file, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	offset, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if offset > adapter.GetSizeBytes() {
		if err := file.Truncate(0); err != nil {
			return err
		}
		if offset, err = file.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	tries := tries{client: c, transfer: true}
	for offset < adapter.GetSizeBytes() {
		count, err := c.receive(ctx, adapter.GetName(), offset, file)
		offset += count
		if count > 0 {
			tries.progressed()
		}
		if broke := asError(err); broke != nil && broke.Code == codes.DeadlineExceeded && ctx.Err() == nil {
			broke.Code = codes.Unavailable // the stream's own limit: the next goes on
		}
		if err == nil && offset < adapter.GetSizeBytes() {
			err = &Error{Code: codes.Unavailable, Message: "the download ended early"}
		}
		if err != nil {
			if again := tries.wait(ctx, err); again != nil {
				return again
			}
		}
	}
	return file.Sync()
}

// receive appends one stream to the file and returns how many bytes it brought.
func (c *Client) receive(
	ctx context.Context, name string, offset int64, file io.Writer,
) (count int64, err error) {
	ctx, cancel := context.WithTimeout(c.authorize(ctx), c.options.StreamTimeout)
	defer cancel()
	stream, err := c.adapters.DownloadAdapter(ctx,
		&wardtunev1.DownloadAdapterRequest{Name: name, Offset: offset})
	if err != nil {
		return 0, fromStatus(err)
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return count, nil
		}
		if err != nil {
			return count, fromStatus(err)
		}
		written, err := file.Write(response.GetChunk())
		count += int64(written)
		if err != nil {
			return count, err
		}
	}
}
