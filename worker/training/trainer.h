// LoRA fine-tuning of a decoder: the loop that security vectors and customers' jobs share.
//
// One call of Step() is one optimizer step. The caller owns the loop, and with it cancelling,
// pausing, heartbeats and checkpoints:
//
//   WT_ASSIGN_OR_RETURN(auto trainer, Trainer::Create(options, std::move(streams), &clock));
//   while (!trainer->done()) {
//     WT_ASSIGN_OR_RETURN(StepReport report, trainer->Step());
//     if (report.step % 50 == 0) { WT_ASSIGN_OR_RETURN(std::string state, trainer->SaveState()); }
//   }
//   LoraAdapter adapter = trainer->Adapter();
//
// A step is a function of (options, rows, models, state before it): a trainer that restores a saved
// state goes on to the very bytes that an uninterrupted one reaches, given the same machine and
// number of threads, and no step_runner. Thread safety: one trainer belongs to one thread at a
// time.
#ifndef WARDTUNE_WORKER_TRAINING_TRAINER_H_
#define WARDTUNE_WORKER_TRAINING_TRAINER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "worker/model/adapter.h"
#include "worker/model/decoder.h"
#include "worker/training/early_stopping.h"
#include "worker/training/lr_schedule.h"
#include "worker/training/training_row.h"

namespace wardtune {

class GradientExchange;  // worker/training/gradient_exchange.h
class StepRunner;        // worker/training/step_runner.h

struct TrainerOptions {
  LoraSpec lora;
  // Passes over stream 0; ignored when max_steps > 0.
  int64_t epochs = 1;
  // Optimizer steps; 0 means "by epochs".
  int64_t max_steps = 0;
  LrScheduleOptions schedule;
  // AdamW (Loshchilov & Hutter, arXiv 1711.05101) in fp32; the decay is decoupled.
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.0;
  // Adds proximal_weight * (w - its start) to the gradient of every number w of the adapter, which
  // holds it to where it started (FedProx, Li et al., arXiv 1812.06127, equation 2).
  double proximal_weight = 0.0;
  // The global L2 norm of the gradient is scaled down to this; 0 switches clipping off.
  double max_grad_norm = 1.0;
  // A step runs its rows in micro-batches of at most this many tokens (one row at least), which
  // bounds memory and leaves the loss unchanged. More is no faster (docs/performance.md).
  int64_t micro_batch_tokens = 1024;
  // Keeps only each layer's input and computes the rest again in the backward pass: memory per
  // token falls to about a tenth for a third more time; the numbers stay the same bit for bit.
  bool recompute_activations = false;
  // Tokens with which several rows of a micro-batch begin go through the model once; numbers are
  // those without up to rounding. A micro-batch with rows of several jobs shares nothing, so that
  // none of a job's bits depends on what another's rows say. Off is for comparing; validation
  // shares all the same.
  bool share_prefixes = true;
  // Rows with more tokens are refused by Create.
  int64_t max_row_tokens = 2048;
  // Decides the start of the adapter and the order of the rows.
  uint64_t seed = 0;
  // Off: every pass takes the rows in their own order.
  bool shuffle = true;
  // The adapter to go on from; its spec must equal `lora`. Without it B starts as zero and A as the
  // seed says.
  std::optional<LoraAdapter> start;
  // Held-out rows, measured on the weights of stream 0. With them what is delivered is the best
  // that was measured, and the run may end early.
  ValidationOptions validation;
  // Not null: this process is one of several that train the same job with the same options, rows
  // and models. Each runs its share of the rows of every step, and all hold the same adapter, bit
  // for bit. Not owned; must outlive the trainer. A resumed run reaches the same bytes only with
  // the same number of processes.
  GradientExchange* exchange = nullptr;
  // Not null: it runs the trainer's steps, together with those of other trainers that name it. A
  // job's numbers are then those of its run alone up to the rounding of products of another size,
  // and none depends on what another job's rows say. Not owned; must outlive the trainer.
  StepRunner* step_runner = nullptr;
};

struct StepReport {
  int64_t step = 0;  // steps done, this one included
  int64_t total_steps = 0;
  double loss = 0.0;                  // sum over streams, weighted, of means per supervised token
  std::vector<double> stream_losses;  // per stream, unweighted
  double learning_rate = 0.0;
  double grad_norm = 0.0;  // before clipping
  int64_t tokens = 0;      // of the step's rows, over all processes; shared ones count in each
  std::optional<double> validation_loss;  // measured after this step
  int64_t first_stream_tokens = 0;        // of them, stream 0's: the customer's
  int64_t supervised_tokens = 0;
  double seconds = 0.0;
};

class Trainer {
 public:
  // Checks all options and rows. `clock` measures StepReport::seconds and must outlive the trainer.
  // Errors: INVALID_ARGUMENT naming the option or the stream and row: an option out of range or not
  // finite, no usable row, a token id outside the vocabulary, a row longer than allowed, models of
  // different shapes; RESOURCE_EXHAUSTED when memory runs out; with an exchange
  // FAILED_PRECONDITION when the processes do not train the same, UNAVAILABLE when one is gone.
  static absl::StatusOr<std::unique_ptr<Trainer>> Create(const TrainerOptions& options,
                                                         std::vector<TrainingStream> streams,
                                                         Clock* clock);
  virtual ~Trainer() = default;

  virtual int64_t step() const = 0;         // steps done
  virtual int64_t total_steps() const = 0;  // of the whole run
  bool done() const { return step() >= total_steps(); }

  // Runs one optimizer step.
  // Errors: FAILED_PRECONDITION when done(); ABORTED, naming step and reason, when a loss or a
  // gradient is NaN or infinite: the adapter is then as it was before the step, and the run is
  // over; with an exchange UNAVAILABLE when another process is gone (same state), and
  // FAILED_PRECONDITION when it stands at another step.
  virtual absl::StatusOr<StepReport> Step() = 0;

  // The weights that stream `stream` trains on, and the frozen adapter beside them or null.
  virtual const DecoderModel& model(size_t stream) const = 0;
  virtual const LoraAdapter* frozen(size_t stream) const = 0;

  // A copy of the adapter: as it stands, or with validation the best one that was measured.
  virtual LoraAdapter Adapter() const = 0;
  // What may be delivered, the best first: with validation the adapters that it kept, else the one
  // as it stands.
  virtual std::vector<AdapterAtStep> Candidates() const = 0;
  // The step that Adapter() was reached with, and its validation loss if there is one.
  virtual int64_t adapter_step() const { return step(); }
  virtual std::optional<double> validation_loss() const { return std::nullopt; }

  // Everything that the next step depends on (adapter, AdamW moments, step), as safetensors bytes
  // with a digest of options and rows. As secret as the adapter itself.
  virtual absl::StatusOr<std::string> SaveState() const = 0;
  // A state of smaller micro-batches goes on with these, to the bytes that an uninterrupted run
  // would have come to. Errors: INVALID_ARGUMENT when the bytes are damaged; FAILED_PRECONDITION
  // when they come from other options, rows or models, or from larger micro-batches. The trainer is
  // unchanged on error.
  virtual absl::Status RestoreState(std::string_view bytes) = 0;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_TRAINER_H_
