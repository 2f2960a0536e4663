#include "worker/training/early_stopping.h"

#include <cmath>
#include <cstring>
#include <span>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "formats/safetensors_reader.h"
#include "formats/safetensors_writer.h"
#include "worker/training/row_loss.h"
#include "worker/training/trainer_validation.h"

namespace wardtune {
namespace {

constexpr char kTrainerState[] = "trainer_state";
constexpr char kBestAdapter[] = "best_adapter";

std::string FingerprintOf(const ValidationOptions& options) {
  Sha256 hash;
  hash.Update(absl::StrCat(options.every_steps, " ", options.patience, " ", options.rows.size()));
  for (const TrainingRow& row : options.rows) {
    hash.Update(absl::StrCat("\n", row.ids.size(), ":"));
    hash.Update(row.ids.data(), row.ids.size() * sizeof(row.ids[0]));
    hash.Update(row.loss_mask.data(), row.loss_mask.size());
  }
  return hash.HexDigest();
}

absl::Status Damaged() {
  return absl::InvalidArgumentError("checkpoint: the validation's part is missing or damaged");
}

NamedTensor Bytes(const char* name, const std::string& bytes) {
  return {name,
          TensorDType::kU8,
          {static_cast<int64_t>(bytes.size())},
          std::as_bytes(std::span<const char>(bytes))};
}

absl::StatusOr<std::string> TextOf(const SafetensorsContent& content, const char* name) {
  const auto found = content.tensors.find(name);
  if (found == content.tensors.end() || found->second.dtype != TensorDType::kU8) return Damaged();
  return std::string(reinterpret_cast<const char*>(found->second.data.data()),
                     found->second.data.size());
}

template <typename T>
bool ReadField(const SafetensorsContent& content, const char* name, T& value) {
  const auto found = content.metadata.find(name);
  if (found == content.metadata.end()) return false;
  if constexpr (std::is_same_v<T, double>) {
    return absl::SimpleAtod(found->second, &value);
  } else {
    return absl::SimpleAtoi(found->second, &value);
  }
}

}  // namespace

EarlyStopping::EarlyStopping(ValidationOptions options, DecoderModel model)
    : options_(std::move(options)),
      model_(std::move(model)),
      fingerprint_(FingerprintOf(options_)) {}

bool EarlyStopping::IsDue(int64_t step, int64_t total_steps) const {
  return step % options_.every_steps == 0 || step == total_steps;
}

absl::StatusOr<double> EarlyStopping::Measure(int64_t step, const LoraAdapter& adapter) {
  const LoraAdapter* const active[] = {&adapter};
  WT_ASSIGN_OR_RETURN(const std::vector<double> losses, RowLosses(model_, active, options_.rows));
  double sum = 0.0;
  double tokens = 0.0;
  for (size_t i = 0; i < losses.size(); ++i) {
    const auto count = static_cast<double>(SupervisedTokens(options_.rows[i]));
    sum += losses[i] * count;
    tokens += count;
  }
  const double loss = sum / tokens;
  if (!std::isfinite(loss)) {
    return absl::AbortedError(absl::StrCat("step ", step, ": the validation loss is not finite"));
  }
  if (!best_ || loss < best_->loss) {
    best_ = {adapter, loss, step};
    misses_ = 0;
  } else {
    ++misses_;
  }
  return loss;
}

absl::StatusOr<std::string> EarlyStopping::Wrap(const std::string& trainer_state) const {
  std::string best;
  SafetensorsWriteOptions options;
  options.metadata = {{"validation", fingerprint_}, {"misses", absl::StrCat(misses_)}};
  std::vector<NamedTensor> tensors = {Bytes(kTrainerState, trainer_state)};
  if (best_) {
    WT_ASSIGN_OR_RETURN(best, SerializeAdapter(best_->adapter));
    tensors.push_back(Bytes(kBestAdapter, best));
    // Hexadecimal floating point loses no bit.
    options.metadata["best_loss"] = absl::StrFormat("%a", best_->loss);
    options.metadata["best_step"] = absl::StrCat(best_->step);
  }
  return SerializeSafetensors(std::move(tensors), options);
}

absl::StatusOr<std::string> EarlyStopping::Unwrap(std::string_view bytes) {
  const auto content = CopySafetensors(bytes);
  if (!content.ok()) return Damaged();
  const auto made_of = content->metadata.find("validation");
  if (made_of == content->metadata.end()) return Damaged();
  if (made_of->second != fingerprint_) {
    return absl::FailedPreconditionError("checkpoint: was validated on other rows or otherwise");
  }
  int64_t misses = 0;
  if (!ReadField(*content, "misses", misses) || misses < 0) return Damaged();
  WT_ASSIGN_OR_RETURN(std::string state, TextOf(*content, kTrainerState));
  std::optional<Best> best;
  if (content->tensors.contains(kBestAdapter)) {
    best.emplace();
    WT_ASSIGN_OR_RETURN(const std::string adapter, TextOf(*content, kBestAdapter));
    WT_ASSIGN_OR_RETURN(best->adapter, ParseAdapter(model_.config(), adapter));
    if (!ReadField(*content, "best_loss", best->loss) ||
        !ReadField(*content, "best_step", best->step)) {
      return Damaged();
    }
  }
  best_ = std::move(best);
  misses_ = misses;
  return state;
}

}  // namespace wardtune
