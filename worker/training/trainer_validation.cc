#include "worker/training/trainer_validation.h"

#include <bit>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "worker/model/lora_runtime.h"
#include "worker/model/token_check.h"

namespace wardtune {
namespace {

absl::Status CheckRange(const char* field, double value, double low, double high) {
  if (value >= low && value <= high) return absl::OkStatus();  // false for NaN
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": must be in ", low, "..", high, ", is ", value));
}

absl::Status CheckOptions(const TrainerOptions& options) {
  WT_RETURN_IF_ERROR(ValidateLrSchedule(options.schedule));
  WT_RETURN_IF_ERROR(CheckRange("epochs", static_cast<double>(options.epochs), 1, 1000));
  WT_RETURN_IF_ERROR(CheckRange("max_steps", static_cast<double>(options.max_steps), 0, 1e9));
  WT_RETURN_IF_ERROR(CheckRange("beta1", options.beta1, 0.0, 0.99999));
  WT_RETURN_IF_ERROR(CheckRange("beta2", options.beta2, 0.0, 0.9999999));
  WT_RETURN_IF_ERROR(CheckRange("epsilon", options.epsilon, 1e-12, 1.0));
  WT_RETURN_IF_ERROR(CheckRange("weight_decay", options.weight_decay, 0.0, 10.0));
  WT_RETURN_IF_ERROR(CheckRange("proximal_weight", options.proximal_weight, 0.0, 1e6));
  WT_RETURN_IF_ERROR(CheckRange("max_grad_norm", options.max_grad_norm, 0.0, 1e6));
  WT_RETURN_IF_ERROR(CheckRange("micro_batch_tokens",
                                static_cast<double>(options.micro_batch_tokens), 1, 1 << 24));
  return CheckRange("max_row_tokens", static_cast<double>(options.max_row_tokens), 2, 1 << 24);
}

absl::Status CheckRow(const TrainingRow& row, const TrainerOptions& options,
                      const ModelConfig& config, const std::string& name) {
  WT_RETURN_IF_ERROR(CheckTokens(row.ids, config, name));
  if (row.loss_mask.size() != row.ids.size()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", row.ids.size(), " tokens but ",
                                                   row.loss_mask.size(), " mask entries"));
  }
  if (static_cast<int64_t>(row.ids.size()) > options.max_row_tokens) {
    return absl::InvalidArgumentError(absl::StrCat(
        name, ": has ", row.ids.size(), " tokens, allowed are ", options.max_row_tokens));
  }
  if (SupervisedTokens(row) == 0) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": has no supervised token"));
  }
  return absl::OkStatus();
}

absl::Status CheckStream(const TrainingStream& stream, const TrainerOptions& options,
                         const DecoderModel& first) {
  const std::string name = absl::StrCat("stream '", stream.name, "'");
  if (stream.rows.empty()) return absl::InvalidArgumentError(absl::StrCat(name, ": has no row"));
  WT_RETURN_IF_ERROR(
      CheckRange("rows_per_step", static_cast<double>(stream.rows_per_step), 1, 65536));
  WT_RETURN_IF_ERROR(CheckRange("stream weight", stream.weight, 1e-6, 1e6));
  WT_RETURN_IF_ERROR(CheckRange("kl_slack", stream.kl_slack, 0.0,
                                stream.objective == Objective::kKlToBase ? 100.0 : 0.0));
  const ModelConfig& config = stream.model.config();
  const ModelConfig& expected = first.config();
  if (config.num_layers != expected.num_layers || config.hidden_size != expected.hidden_size ||
      config.intermediate_size != expected.intermediate_size ||
      config.query_size() != expected.query_size() || config.kv_size() != expected.kv_size() ||
      config.vocab_size != expected.vocab_size ||
      stream.model.compute_type() != first.compute_type() ||
      stream.model.device_name() != first.device_name()) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": its model differs in shape, type or device from the first stream's"));
  }
  if (stream.frozen != nullptr) {
    WT_RETURN_IF_ERROR(CheckAdapterFits(*stream.frozen, config));
    if (stream.objective != Objective::kCrossEntropy) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": a frozen adapter is not for rows that are compared with the base"));
    }
  }
  for (size_t i = 0; i < stream.rows.size(); ++i) {
    WT_RETURN_IF_ERROR(CheckRow(stream.rows[i], options, config, absl::StrCat(name, " row ", i)));
  }
  return absl::OkStatus();
}

absl::Status CheckHeldOut(const TrainerOptions& options, const ModelConfig& config) {
  const ValidationOptions& validation = options.validation;
  if (validation.active() && validation.every_steps < 1) {
    return absl::InvalidArgumentError("validation: every_steps must be at least 1");
  }
  if (validation.patience < 0) {
    return absl::InvalidArgumentError("validation: patience must be 0 or above");
  }
  if (validation.keep < 1 || validation.keep > kMaxKeptResults) {
    return absl::InvalidArgumentError(
        absl::StrCat("validation: keep must be 1 to ", kMaxKeptResults));
  }
  for (size_t i = 0; i < validation.rows.size(); ++i) {
    WT_RETURN_IF_ERROR(
        CheckRow(validation.rows[i], options, config, absl::StrCat("validation row ", i)));
  }
  return absl::OkStatus();
}

template <typename T>
void HashVector(Sha256& hash, const std::vector<T>& values) {
  hash.Update(absl::StrCat(values.size(), ":"));
  hash.Update(values.data(), values.size() * sizeof(T));
}

void HashRows(Sha256& hash, const std::vector<TrainingRow>& rows) {
  for (const TrainingRow& row : rows) {
    HashVector(hash, row.ids);
    HashVector(hash, row.loss_mask);
  }
}

}  // namespace

int64_t SupervisedTokens(const TrainingRow& row) {
  int64_t count = 0;
  for (size_t i = 1; i < row.loss_mask.size(); ++i) count += row.loss_mask[i] != 0 ? 1 : 0;
  return count;
}

absl::Status ValidateTraining(const TrainerOptions& options,
                              const std::vector<TrainingStream>& streams) {
  WT_RETURN_IF_ERROR(CheckOptions(options));
  if (streams.empty()) return absl::InvalidArgumentError("streams: at least one is needed");
  for (const TrainingStream& stream : streams) {
    WT_RETURN_IF_ERROR(CheckStream(stream, options, streams[0].model));
  }
  return CheckHeldOut(options, streams[0].model.config());
}

absl::Status ValidateLora(const TrainerOptions& options, const ModelConfig& config) {
  WT_RETURN_IF_ERROR(ValidateLoraSpec(options.lora, config));
  if (options.start) {
    const LoraSpec& spec = options.start->spec;
    if (spec.rank != options.lora.rank || spec.alpha != options.lora.alpha ||
        spec.targets != options.lora.targets) {
      return absl::InvalidArgumentError("start: its rank, alpha or targets are not those of lora");
    }
    WT_RETURN_IF_ERROR(CheckAdapterFits(*options.start, config));
  }
  return absl::OkStatus();
}

std::string ValidationFingerprint(const ValidationOptions& validation) {
  if (!validation.active()) return "";
  Sha256 hash;
  hash.Update(
      absl::StrCat(validation.every_steps, " ", validation.patience, " ", validation.keep, "\n"));
  HashRows(hash, validation.rows);
  return hash.HexDigest();
}

std::string TrainingFingerprint(const TrainerOptions& options,
                                const std::vector<TrainingStream>& streams) {
  Sha256 hash;
  const auto number = [&](double value) { hash.Update(&value, sizeof(value)); };
  for (double value :
       {options.lora.alpha, options.schedule.peak, options.schedule.warmup_ratio, options.beta1,
        options.beta2, options.epsilon, options.weight_decay, options.max_grad_norm}) {
    number(value);
  }
  hash.Update(absl::StrCat(options.lora.rank, " ", options.epochs, " ", options.max_steps, " ",
                           static_cast<int>(options.schedule.decay), " ", options.seed, " ",
                           options.shuffle, "\n"));
  // Only where it acts: states of runs from before there was such a term stay good.
  if (options.proximal_weight != 0.0) number(options.proximal_weight);
  for (Projection projection : options.lora.targets) {
    hash.Update(std::string(ProjectionName(projection)));
  }
  if (options.start) hash.Update(AdapterDigest(*options.start));
  std::map<const ModelWeights*, std::string> digests;  // a model may feed several streams
  for (const TrainingStream& stream : streams) {
    std::string& digest = digests[stream.model.weights().get()];
    if (digest.empty()) digest = stream.model.WeightsDigest();
    hash.Update(absl::StrCat("\nstream ", digest, " ", static_cast<int>(stream.objective), " ",
                             stream.rows_per_step, " ", stream.rows.size(), "\n"));
    if (stream.frozen != nullptr) hash.Update(AdapterDigest(*stream.frozen));
    number(stream.weight);
    if (stream.kl_slack != 0.0) number(stream.kl_slack);  // as proximal_weight
    HashRows(hash, stream.rows);
  }
  return hash.HexDigest();
}

}  // namespace wardtune
