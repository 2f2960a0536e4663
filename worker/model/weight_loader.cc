#include "worker/model/weight_loader.h"

#include <map>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file_system.h"
#include "base/status_macros.h"
#include "formats/safetensors_reader.h"
#include "simdjson.h"
#include "worker/model/rope.h"
#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";

absl::StatusOr<at::ScalarType> ScalarTypeOf(const std::string& name, TensorDType dtype) {
  switch (dtype) {
    case TensorDType::kF32:
      return at::kFloat;
    case TensorDType::kF16:
      return at::kHalf;
    case TensorDType::kBF16:
      return at::kBFloat16;
    default:
      return absl::InvalidArgumentError(absl::StrCat("tensor ", name, " has type ",
                                                     std::string(DTypeName(dtype)),
                                                     "; F32, F16 or BF16 is needed"));
  }
}

// The mapped files of a folder, or one file in memory, looked up by tensor name.
class TensorSource {
 public:
  // `content` must outlive the source.
  explicit TensorSource(const SafetensorsContent* content) : content_(content) {}
  TensorSource() = default;

  static absl::StatusOr<TensorSource> Open(const std::string& folder) {
    TensorSource source;
    PosixFileSystem files;
    const std::string index = folder + "/" + kIndexFile;
    if (!files.Exists(index)) {
      WT_RETURN_IF_ERROR(source.Add(folder + "/" + kSingleFile));
      return source;
    }
    WT_ASSIGN_OR_RETURN(std::string text, files.ReadFile(index));
    simdjson::dom::parser parser;
    simdjson::dom::object map;
    if (parser.parse(simdjson::padded_string(text))["weight_map"].get(map) != simdjson::SUCCESS) {
      return absl::InvalidArgumentError(absl::StrCat(index, ": no object 'weight_map'"));
    }
    std::map<std::string, bool> shards;
    for (const auto& field : map) {
      std::string_view shard;
      if (field.value.get(shard) != simdjson::SUCCESS || shard.empty() ||
          shard.find('/') != std::string_view::npos) {
        return absl::InvalidArgumentError(
            absl::StrCat(index, ": weight_map must name files of the same folder"));
      }
      shards[std::string(shard)] = true;
    }
    for (const auto& [shard, unused] : shards) {
      WT_RETURN_IF_ERROR(source.Add(folder + "/" + shard));
    }
    return source;
  }

  // The tensor as a CPU view of the mapped file.
  absl::StatusOr<at::Tensor> Get(const std::string& name, const std::vector<int64_t>& shape) const {
    if (const TensorView* const view = Find(name)) {
      if (view->shape != shape) {
        return absl::InvalidArgumentError(
            absl::StrCat("tensor ", name, " has shape [", absl::StrJoin(view->shape, ", "),
                         "], config.json says [", absl::StrJoin(shape, ", "), "]"));
      }
      WT_ASSIGN_OR_RETURN(const at::ScalarType dtype, ScalarTypeOf(name, view->dtype));
      return at::from_blob(const_cast<std::byte*>(view->data.data()), shape, dtype);
    }
    return absl::InvalidArgumentError(absl::StrCat("tensor ", name, " is missing"));
  }

  // For when what Get returned has been copied: a model is not held twice.
  void ReleasePages() const {
    for (const auto& file : files_) file->ReleasePages();
  }

 private:
  const TensorView* Find(const std::string& name) const {
    if (content_ != nullptr) {
      const auto found = content_->tensors.find(name);
      return found == content_->tensors.end() ? nullptr : &found->second;
    }
    for (const auto& file : files_) {
      if (const TensorView* const view = file->Find(name)) return view;
    }
    return nullptr;
  }

  absl::Status Add(const std::string& path) {
    WT_ASSIGN_OR_RETURN(auto file, SafetensorsFile::Open(path));
    files_.push_back(std::move(file));
    return absl::OkStatus();
  }

  const SafetensorsContent* content_ = nullptr;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
};

bool HasBias(const ModelConfig& config, FusedLinear which) {
  switch (which) {
    case FusedLinear::kQkv:
      return config.qkv_bias;
    case FusedLinear::kO:
      return config.o_bias;
    default:
      return config.mlp_bias;
  }
}

class Loader {
 public:
  Loader(const TensorSource& source, const ModelConfig& config, at::ScalarType dtype,
         at::Device device)
      : source_(source), config_(config), dtype_(dtype), device_(device) {}

  absl::StatusOr<std::shared_ptr<const ModelWeights>> Load() const {
    auto weights = std::make_shared<ModelWeights>();
    weights->config = config_;
    weights->dtype = dtype_;
    weights->device = device_;
    weights->rope = ComputeRopeFrequencies(config_);
    const std::vector<int64_t> table = {config_.vocab_size, config_.hidden_size};
    WT_ASSIGN_OR_RETURN(weights->embedding, Copy("model.embed_tokens.weight", table, dtype_));
    WT_ASSIGN_OR_RETURN(weights->final_norm,
                        Copy("model.norm.weight", {config_.hidden_size}, at::kFloat));
    if (config_.tied_embeddings) {
      weights->head = weights->embedding;
    } else {
      WT_ASSIGN_OR_RETURN(weights->head, Copy("lm_head.weight", table, dtype_));
    }
    for (int64_t l = 0; l < config_.num_layers; ++l) {
      source_.ReleasePages();
      WT_ASSIGN_OR_RETURN(auto layer, LoadLayer(absl::StrCat("model.layers.", l, ".")));
      weights->layers.push_back(std::move(layer));
    }
    return std::shared_ptr<const ModelWeights>(std::move(weights));
  }

 private:
  absl::StatusOr<at::Tensor> Copy(const std::string& name, const std::vector<int64_t>& shape,
                                  at::ScalarType dtype) const {
    WT_ASSIGN_OR_RETURN(at::Tensor view, source_.Get(name, shape));
    return view.to(device_, dtype, /*non_blocking=*/false, /*copy=*/true);
  }

  absl::StatusOr<LayerWeights> LoadLayer(const std::string& prefix) const {
    LayerWeights layer;
    WT_ASSIGN_OR_RETURN(layer.input_norm,
                        Copy(prefix + "input_layernorm.weight", {config_.hidden_size}, at::kFloat));
    WT_ASSIGN_OR_RETURN(layer.post_attention_norm, Copy(prefix + "post_attention_layernorm.weight",
                                                        {config_.hidden_size}, at::kFloat));
    if (config_.qk_norm) {
      WT_ASSIGN_OR_RETURN(layer.q_norm,
                          Copy(prefix + "self_attn.q_norm.weight", {config_.head_dim}, at::kFloat));
      WT_ASSIGN_OR_RETURN(layer.k_norm,
                          Copy(prefix + "self_attn.k_norm.weight", {config_.head_dim}, at::kFloat));
    }
    for (int i = 0; i < kFusedLinearCount; ++i) {
      WT_ASSIGN_OR_RETURN(layer.linear[i], LoadLinear(prefix, static_cast<FusedLinear>(i)));
    }
    return layer;
  }

  // Stacks the projections of one fused matrix.
  absl::StatusOr<LinearWeights> LoadLinear(const std::string& prefix, FusedLinear which) const {
    std::vector<at::Tensor> rows;
    std::vector<at::Tensor> biases;
    for (Projection projection : ProjectionsOf(which)) {
      const ProjectionShape shape = ShapeOf(config_, projection);
      const std::string name = prefix + ModuleName(projection);
      WT_ASSIGN_OR_RETURN(at::Tensor w, source_.Get(name + ".weight", {shape.out, shape.in}));
      rows.push_back(w.to(dtype_));
      if (HasBias(config_, which)) {
        WT_ASSIGN_OR_RETURN(at::Tensor b, source_.Get(name + ".bias", {shape.out}));
        biases.push_back(b.to(dtype_));
      }
    }
    LinearWeights linear;
    linear.weight = at::cat(rows, 0).to(device_);
    if (!biases.empty()) linear.bias = at::cat(biases, 0).to(device_);
    return linear;
  }

  const TensorSource& source_;
  const ModelConfig& config_;
  const at::ScalarType dtype_;
  const at::Device device_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const ModelWeights>> LoadModelWeights(const std::string& folder,
                                                                     const ModelConfig& config,
                                                                     at::ScalarType dtype,
                                                                     at::Device device) {
  auto source = TensorSource::Open(folder);
  if (!source.ok()) return source.status();
  auto weights = Loader(*source, config, dtype, device).Load();
  if (!weights.ok()) {
    return absl::Status(weights.status().code(),
                        absl::StrCat(folder, ": ", std::string(weights.status().message())));
  }
  return weights;
}

absl::StatusOr<std::shared_ptr<const ModelWeights>> ParseModelWeights(std::string_view safetensors,
                                                                      const ModelConfig& config,
                                                                      at::ScalarType dtype,
                                                                      at::Device device) {
  WT_ASSIGN_OR_RETURN(const SafetensorsCopy content, CopySafetensors(safetensors));
  return Loader(TensorSource(&content), config, dtype, device).Load();
}

}  // namespace wardtune
