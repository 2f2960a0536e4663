// Full-parameter fine-tuning of a decoder, beside LoRA (worker/training/trainer.h).
//
// Trained are the weights of the seven projections of every layer; embedding, output head, norms
// and biases stay as they are. A run trains a change D of these weights: rows run on their stream's
// model + D, for a customer the base with the security vector folded in, and what is delivered is
// the base + D. So the vector is in the forward pass and never in the result, without having to be
// taken out of anything.
//
// Costs 16 bytes a trained weight, a working copy for each model that rows run on, and with
// validation one for each result that is kept. There is no checkpoint: a run that breaks off starts
// anew. Thread safety: one trainer belongs to one thread at a time.
#ifndef WARDTUNE_WORKER_TRAINING_FULL_PARAMETER_TRAINER_H_
#define WARDTUNE_WORKER_TRAINING_FULL_PARAMETER_TRAINER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "worker/model/decoder.h"
#include "worker/model/weight_delta.h"
#include "worker/training/trainer.h"

namespace wardtune {

class FullParameterTrainer {
 public:
  // `options` as for a Trainer; lora is not looked at and start must be empty. Weight decay pulls
  // towards the weights that the run starts on. What is learned is delivered on `base`. `clock`
  // must outlive the trainer.
  // Errors: as Trainer::Create; RESOURCE_EXHAUSTED also when memory would not do for the run.
  static absl::StatusOr<std::unique_ptr<FullParameterTrainer>> Create(
      const TrainerOptions& options, std::vector<TrainingStream> streams, DecoderModel base,
      Clock* clock);
  virtual ~FullParameterTrainer() = default;

  virtual int64_t step() const = 0;         // steps done
  virtual int64_t total_steps() const = 0;  // of the whole run
  bool done() const { return step() >= total_steps(); }

  // Runs one optimizer step. Errors: as Trainer::Step.
  virtual absl::StatusOr<StepReport> Step() = 0;

  // The weights that stream `stream` runs on as they stand, the change included. They change with
  // Step; the stream's own model never does.
  virtual DecoderModel working_model(size_t stream) const = 0;

  // `model` + D as it stands, added in fp32 and rounded once to the compute type. Shares all
  // weights with `model` that are not trained; where D is zero the bits are the model's.
  // Errors: INVALID_ARGUMENT when its shapes are others.
  virtual absl::StatusOr<DecoderModel> AddTo(const DecoderModel& model) const = 0;

  // What may be delivered, base + D, the best first: with validation the results that it kept, else
  // the one as it stands.
  virtual absl::StatusOr<std::vector<ModelAtStep>> Candidates() const = 0;
  // The best of them that was measured, null before the first measurement. Until the next Step.
  virtual const ModelAtStep* best() const = 0;

  // D itself, for the strip check; the views live as long as the trainer and change with Step.
  virtual WeightDelta Delta() const = 0;
};

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_TRAINING_FULL_PARAMETER_TRAINER_H_
