#include "worker/model/decoder.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <malloc.h>

#include <cstdlib>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file_system.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "worker/model/cpu_features.h"
#include "worker/model/decoder_forward.h"
#include "worker/model/model_weights.h"
#include "worker/model/tensor_ops.h"
#include "worker/model/token_check.h"
#include "worker/model/torch_boundary.h"
#include "worker/model/torch_ops.h"
#include "worker/model/weight_loader.h"

namespace wardtune {
namespace {

absl::StatusOr<at::Device> ParseDevice(const std::string& name) {
  if (name == "auto") return at::hasCUDA() ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  try {
    at::Device device(name);
    if (device.is_cuda()) {
      if (!at::hasCUDA()) {
        return absl::InvalidArgumentError(
            absl::StrCat("device '", name, "': this machine or build has no CUDA device"));
      }
      return device.has_index() ? device : at::Device(at::kCUDA, 0);
    }
    if (device.is_cpu()) return at::Device(at::kCPU);
  } catch (const c10::Error&) {
  }
  return absl::InvalidArgumentError(
      absl::StrCat("device '", name, "' is not one of cpu, cuda, cuda:N, auto"));
}

at::ScalarType ScalarTypeFor(ComputeType type, at::Device device) {
  switch (type) {
    case ComputeType::kFloat32:
      return at::kFloat;
    case ComputeType::kBfloat16:
      return at::kBFloat16;
    case ComputeType::kAuto:
      break;
  }
  return device.is_cuda() || CpuHasFastBfloat16() ? at::kBFloat16 : at::kFloat;
}

FloatMatrix ToFloatMatrix(const at::Tensor& tensor) {
  const at::Tensor host = tensor.to(at::kCPU, at::kFloat).contiguous();
  FloatMatrix matrix{host.size(0), host.size(1), {}};
  const float* data = host.data_ptr<float>();
  matrix.values.assign(data, data + host.numel());
  return matrix;
}

absl::StatusOr<FloatMatrix> LogitsAt(const DecoderModel& model, ActiveAdapters adapters,
                                     std::span<const std::span<const int32_t>> sequences,
                                     const std::vector<int64_t>* rows) {
  for (size_t i = 0; i < sequences.size(); ++i) {
    WT_RETURN_IF_ERROR(CheckTokens(sequences[i], model.config(), absl::StrCat("sequence ", i)));
  }
  return AtTorchBoundary("forward pass", [&]() -> absl::StatusOr<FloatMatrix> {
    const c10::InferenceMode guard;
    const ModelWeights& weights = *model.weights();
    WT_ASSIGN_OR_RETURN(const LoraRuntime lora, MakeLoraRuntime(weights, adapters));
    const PackedTokens tokens = PackTokens(sequences, weights.device);
    at::Tensor x = RunLayers(weights, lora, tokens);
    if (rows != nullptr) {
      x = x.index_select(0, IndexTensor(*rows, weights.device));
    }
    return ToFloatMatrix(HeadLogits(weights, x));
  });
}

}  // namespace

std::string_view ComputeTypeName(ComputeType type) {
  switch (type) {
    case ComputeType::kAuto:
      return "auto";
    case ComputeType::kFloat32:
      return "float32";
    case ComputeType::kBfloat16:
      return "bfloat16";
  }
  return "";
}

absl::StatusOr<ComputeTarget> ResolveCompute(const DecoderOptions& options) {
  WT_ASSIGN_OR_RETURN(const at::Device device, ParseDevice(options.device));
  const at::ScalarType type = ScalarTypeFor(options.compute_type, device);
  return ComputeTarget{.device = device.str(),
                       .type = type == at::kFloat ? ComputeType::kFloat32 : ComputeType::kBfloat16};
}

DecoderModel::DecoderModel(std::shared_ptr<const ModelWeights> weights)
    : weights_(std::move(weights)) {}

absl::StatusOr<DecoderModel> DecoderModel::Load(const std::string& folder,
                                                const DecoderOptions& options) {
  PosixFileSystem files;
  WT_ASSIGN_OR_RETURN(const std::string text, files.ReadFile(folder + "/config.json"));
  auto config = ParseModelConfig(text);
  if (!config.ok()) {
    return absl::Status(config.status().code(),
                        absl::StrCat(folder, "/", std::string(config.status().message())));
  }
  WT_ASSIGN_OR_RETURN(const at::Device device, ParseDevice(options.device));
  return AtTorchBoundary(absl::StrCat("loading ", folder), [&]() -> absl::StatusOr<DecoderModel> {
    const c10::InferenceMode guard;
    WT_ASSIGN_OR_RETURN(
        auto weights,
        LoadModelWeights(folder, *config, ScalarTypeFor(options.compute_type, device), device));
    return DecoderModel(std::move(weights));
  });
}

const ModelConfig& DecoderModel::config() const { return weights_->config; }

ComputeType DecoderModel::compute_type() const {
  return weights_->dtype == at::kFloat ? ComputeType::kFloat32 : ComputeType::kBfloat16;
}

std::string DecoderModel::device_name() const { return weights_->device.str(); }

int64_t DecoderModel::weight_bytes() const {
  int64_t bytes = 0;
  for (const auto& [name, tensor] : weights_->Named()) {
    bytes += static_cast<int64_t>(tensor.nbytes());
  }
  return bytes;
}

std::string DecoderModel::WeightsDigest() const {
  Sha256 hash;
  for (const auto& [name, tensor] : weights_->Named()) {
    const at::Tensor host = tensor.cpu().contiguous();
    hash.Update(absl::StrCat(name, " ", at::toString(host.scalar_type()), " ",
                             absl::StrJoin(host.sizes(), "x"), "\n"));
    hash.Update(host.data_ptr(), host.nbytes());
  }
  return hash.HexDigest();
}

absl::StatusOr<FloatMatrix> LastTokenLogits(const DecoderModel& model, ActiveAdapters adapters,
                                            std::span<const std::vector<int32_t>> sequences) {
  if (sequences.empty()) return FloatMatrix{0, model.config().vocab_size, {}};
  std::vector<std::span<const int32_t>> views(sequences.begin(), sequences.end());
  std::vector<int64_t> last;
  int64_t end = 0;
  for (const auto& view : views) last.push_back((end += static_cast<int64_t>(view.size())) - 1);
  return LogitsAt(model, adapters, views, &last);
}

absl::StatusOr<FloatMatrix> AllLogits(const DecoderModel& model, ActiveAdapters adapters,
                                      std::span<const int32_t> sequence) {
  return LogitsAt(model, adapters, {&sequence, 1}, nullptr);
}

void ConfigureComputeRuntime(const ComputeRuntimeOptions& options) {
  if (options.threads > 0) at::set_num_threads(options.threads);
  // Every length of a packed batch is a shape of its own, and oneDNN keeps 1024 compiled products
  // of up to half a megabyte each. A step of several jobs uses about 200 again and again.
  setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256", /*overwrite=*/0);
  // Denormal numbers are slow on CPUs and mean nothing here.
  at::globalContext().setFlushDenormal(true);
#if defined(__GLIBC__)
  // A step frees and allocates the same gigabyte of tensors again and again. By default much of it
  // goes back to the kernel each time, which then clears every page anew.
  mallopt(M_MMAP_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TOP_PAD, 64 << 20);
#endif
}

int64_t ComputeThreads() { return at::get_num_threads(); }

}  // namespace wardtune
