// Command wardtune-example takes a data set from a file to an adapter.
//
//	WARDTUNE_SERVER=localhost:8433 WARDTUNE_API_KEY=... \
//	  wardtune-example -model baseModels/SmolLM2-135M-Instruct -out adapter.tar rows.jsonl
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	wardtune "github.com/wardtune/wardtune/clients/go"
	wardtunev1 "github.com/wardtune/wardtune/clients/go/gen/wardtune/v1"
)

func main() {
	model := flag.String("model", "", "base model, baseModels/{model}")
	epochs := flag.Int("epochs", 0, "passes over the data; 0 means the server's default")
	out := flag.String("out", "adapter.tar", "where the adapter goes")
	flag.Parse()
	if flag.NArg() != 1 || *model == "" {
		fmt.Fprintln(os.Stderr, "usage: wardtune-example -model baseModels/... [flags] rows.jsonl")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, flag.Arg(0), *model, int32(*epochs), *out); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, path, model string, epochs int32, out string) error {
	client, err := wardtune.New(os.Getenv("WARDTUNE_SERVER"), os.Getenv("WARDTUNE_API_KEY"),
		wardtune.Options{})
	if err != nil {
		return err
	}
	defer client.Close()

	upload, err := client.UploadDataset(ctx, path)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d rows\n", upload.Dataset.GetName(), upload.Report.GetValidRows())
	job, err := client.CreateJob(ctx, &wardtunev1.CreateFineTuningJobRequest{
		Dataset:         upload.Dataset.GetName(),
		BaseModel:       model,
		Hyperparameters: &wardtunev1.Hyperparameters{Epochs: epochs},
	})
	if err != nil {
		return err
	}
	fmt.Println(job.GetName())
	job, err = client.WaitForJob(ctx, job.GetName(), func(event *wardtunev1.JobEvent) {
		fmt.Printf("%3.0f%%  loss %.4f  %s\n", event.GetProgress().GetPercent(),
			event.GetProgress().GetLoss(), event.GetMessage())
	})
	if err != nil {
		return err
	}
	if err := client.DownloadAdapter(ctx, job.GetAdapter(), out); err != nil {
		return err
	}
	fmt.Println(out)
	return nil
}
