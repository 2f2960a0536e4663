#include "worker/training/lora_optimizer.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "formats/safetensors_reader.h"
#include "formats/safetensors_writer.h"
#include "worker/model/lanes.h"
#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

constexpr char kMoment1[] = "adamw.moment1";
constexpr char kMoment2[] = "adamw.moment2";

at::Tensor View(std::vector<float>& values, int64_t begin, std::initializer_list<int64_t> shape) {
  return at::from_blob(values.data() + begin, shape, at::kFloat);
}

std::span<const std::byte> BytesOf(const std::vector<float>& values) {
  return std::as_bytes(std::span<const float>(values));
}

absl::Status CopyTensor(const SafetensorsContent& content, const std::string& name,
                        std::vector<float>& to) {
  const auto found = content.tensors.find(name);
  if (found == content.tensors.end() || found->second.dtype != TensorDType::kF32 ||
      found->second.data.size() != to.size() * sizeof(float)) {
    return absl::InvalidArgumentError(
        absl::StrCat("checkpoint: tensor ", name, " is missing or has another size"));
  }
  std::memcpy(to.data(), found->second.data.data(), found->second.data.size());
  return absl::OkStatus();
}

}  // namespace

LoraOptimizer::LoraOptimizer(const ModelConfig& config, LoraAdapter start,
                             const AdamWOptions& options)
    : options_(options), adapter_(std::move(start)) {
  int64_t size = 0;
  for (int64_t l = 0; l < config.num_layers; ++l) {
    for (int which = 0; which < kFusedLinearCount; ++which) {
      const auto linear = static_cast<FusedLinear>(which);
      for (const LoraBlock& block : BlocksOf(config, adapter_.spec, linear)) {
        for (const bool is_a : {true, false}) {
          Segment segment{l, linear, block, is_a, size, 0};
          segment.size = static_cast<int64_t>(MatrixOf(segment).size());
          size += segment.size;
          segments_.push_back(segment);
        }
      }
    }
  }
  gradient_.assign(size, 0.0f);
  moment1_.assign(size, 0.0f);
  moment2_.assign(size, 0.0f);
}

std::vector<float>& LoraOptimizer::MatrixOf(const Segment& segment) {
  LoraMatrices& m = adapter_.at(segment.layer, segment.block.projection);
  return segment.is_a ? m.a : m.b;
}

void LoraOptimizer::SetGradients(const LoraGradients& gradients) {
  ForEachInParallel(static_cast<int64_t>(segments_.size()),
                    [&](int64_t i) { SetGradient(segments_[i], gradients); });
}

void LoraOptimizer::SetGradient(const Segment& s, const LoraGradients& gradients) {
  const FactorGradients& fused = gradients.layers[s.layer][static_cast<int>(s.linear)];
  if (s.is_a) {
    const at::Tensor block = fused.a.narrow(0, s.block.rank_begin, s.block.rank);
    View(gradient_, s.begin, {s.block.rank, fused.a.size(1)}).copy_(block);
    return;
  }
  // The forward pass multiplies by scale * B.
  View(gradient_, s.begin, {s.block.out_rows, s.block.rank})
      .copy_(fused.BlockOfB(s.block))
      .mul_(adapter_.spec.scale());
}

void LoraOptimizer::AddProximal(const LoraAdapter& anchor, double weight) {
  ForEachInParallel(static_cast<int64_t>(segments_.size()), [&](int64_t i) {
    const Segment& s = segments_[i];
    const LoraMatrices& from = anchor.at(s.layer, s.block.projection);
    const std::vector<float>& start = s.is_a ? from.a : from.b;
    const std::vector<float>& now = MatrixOf(s);
    for (int64_t k = 0; k < s.size; ++k) {
      gradient_[s.begin + k] += static_cast<float>(weight) * (now[k] - start[k]);
    }
  });
}

double LoraOptimizer::MeasureNorm() {
  const auto size = static_cast<int64_t>(gradient_.size());
  gradient_norm_ = at::norm(View(gradient_, 0, {size})).item<double>();
  return gradient_norm_;
}

void LoraOptimizer::Apply(int64_t step, double learning_rate, double max_norm) {
  const AdamWStep kernel_step =
      MakeAdamWStep(options_, step, learning_rate, gradient_norm_, max_norm);
  ForEachInParallel(static_cast<int64_t>(segments_.size()), [&](int64_t i) {
    const Segment& s = segments_[i];
    BestCpuKernels().adamw(kernel_step, MatrixOf(s).data(), gradient_.data() + s.begin,
                           moment1_.data() + s.begin, moment2_.data() + s.begin, 0, s.size);
  });
}

absl::StatusOr<std::string> LoraOptimizer::Save(
    const std::map<std::string, std::string>& metadata) const {
  std::vector<NamedTensor> tensors;
  for (const AdapterTensor& tensor : AdapterTensors(adapter_)) {
    tensors.push_back(
        {tensor.name, TensorDType::kF32, {tensor.rows, tensor.cols}, BytesOf(*tensor.values)});
  }
  const auto size = static_cast<int64_t>(moment1_.size());
  tensors.push_back({kMoment1, TensorDType::kF32, {size}, BytesOf(moment1_)});
  tensors.push_back({kMoment2, TensorDType::kF32, {size}, BytesOf(moment2_)});
  SafetensorsWriteOptions options;
  options.metadata = metadata;
  options.require_finite = true;
  return SerializeSafetensors(std::move(tensors), options);
}

absl::Status LoraOptimizer::Restore(
    std::string_view bytes,
    const std::function<absl::Status(const std::map<std::string, std::string>&)>& accept) {
  WT_ASSIGN_OR_RETURN(const SafetensorsCopy content, CopySafetensors(bytes));
  WT_RETURN_IF_ERROR(accept({content.metadata.begin(), content.metadata.end()}));
  LoraAdapter adapter = adapter_;
  for (const AdapterTensor& tensor : AdapterTensors(adapter)) {
    // The list points into `adapter`, which is ours to write.
    WT_RETURN_IF_ERROR(
        CopyTensor(content, tensor.name, const_cast<std::vector<float>&>(*tensor.values)));
  }
  std::vector<float> moment1(moment1_.size());
  std::vector<float> moment2(moment2_.size());
  WT_RETURN_IF_ERROR(CopyTensor(content, kMoment1, moment1));
  WT_RETURN_IF_ERROR(CopyTensor(content, kMoment2, moment2));
  adapter_ = std::move(adapter);
  moment1_ = std::move(moment1);
  moment2_ = std::move(moment2);
  return absl::OkStatus();
}

}  // namespace wardtune
