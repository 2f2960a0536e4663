// Attention in bf16 against plain fp32 arithmetic, forward and backward, whichever kernel this CPU
// gets.
#include "worker/model/packed_attention.h"

#include <gtest/gtest.h>

#include <cmath>

#include "worker/model/attention_kernels.h"
#include "worker/model/seeded_random.h"
#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

at::Tensor Random(int64_t rows, int64_t columns, uint64_t seed) {
  SplitMix64 random(seed);
  at::Tensor x = at::empty({rows, columns}, at::kFloat);
  for (int64_t i = 0; i < x.numel(); ++i) x.data_ptr<float>()[i] = random.NextSymmetric() * 2.0f;
  return x.to(at::kBFloat16);
}

// The same arithmetic in differentiable fp32 operations, one sequence and head at a time.
at::Tensor Reference(const at::Tensor& qkv, const std::vector<int64_t>& offsets,
                     const ModelConfig& config) {
  const int64_t d = config.head_dim;
  const int64_t group = config.num_heads / config.num_kv_heads;
  std::vector<at::Tensor> sequences;
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    const at::Tensor rows = qkv.narrow(0, offsets[s], offsets[s + 1] - offsets[s]);
    const int64_t n = rows.size(0);
    at::Tensor visible = at::ones({n, n}, at::kBool).tril();
    if (config.sliding_window > 0) visible = visible.triu(1 - config.sliding_window);
    std::vector<at::Tensor> heads;
    for (int64_t h = 0; h < config.num_heads; ++h) {
      const at::Tensor q = rows.narrow(1, h * d, d);
      const at::Tensor k = rows.narrow(1, (config.num_heads + h / group) * d, d);
      const at::Tensor v =
          rows.narrow(1, (config.num_heads + config.num_kv_heads + h / group) * d, d);
      const at::Tensor scores = (at::matmul(q, k.t()) / std::sqrt(static_cast<double>(d)))
                                    .masked_fill(visible.logical_not(), -1e30);
      heads.push_back(at::matmul(at::softmax(scores, -1), v));
    }
    sequences.push_back(at::cat(heads, 1));
  }
  return at::cat(sequences, 0);
}

double RelativeError(const at::Tensor& actual, const at::Tensor& expected) {
  return ((actual.to(at::kFloat) - expected).norm() / expected.norm()).item<double>();
}

void ExpectMatches(ModelConfig config, const std::vector<int64_t>& lengths) {
  std::vector<int64_t> offsets = {0};
  for (const int64_t length : lengths) offsets.push_back(offsets.back() + length);
  const at::Tensor qkv = Random(offsets.back(), config.query_size() + 2 * config.kv_size(), 1);
  const at::Tensor d_out = Random(offsets.back(), config.query_size(), 2);

  at::Tensor plain = qkv.to(at::kFloat);
  plain.requires_grad_(true);
  const at::Tensor expected = Reference(plain, offsets, config);
  expected.backward(d_out.to(at::kFloat));

  const AttentionResult result = PackedAttention(qkv, offsets, config);
  const at::Tensor d_qkv = PackedAttentionGradient(d_out, qkv, result, offsets, config);
  // bf16 has 8 bits: a few rounding steps of 2^-9 each.
  EXPECT_LT(RelativeError(result.out, expected.detach()), 6e-3);
  for (size_t s = 0; s < lengths.size(); ++s) {  // a leak between sequences hides in no average
    EXPECT_LT(RelativeError(d_qkv.narrow(0, offsets[s], lengths[s]),
                            plain.grad().narrow(0, offsets[s], lengths[s])),
              1.2e-2)
        << "sequence " << s;
  }
}

// The second and the third of four sequences begin with rows of the first.
void ExpectMatchesWhereRowsAreShared(ModelConfig config) {
  const std::vector<std::vector<int32_t>> ids = {std::vector<int32_t>(70), std::vector<int32_t>(50),
                                                 std::vector<int32_t>(90),
                                                 std::vector<int32_t>(33)};
  const std::vector<SharedPrefix> prefixes = {{0, 0}, {0, 40}, {0, 45}, {0, 0}};
  const PackedTokens tokens =
      PackTokens(std::vector<std::span<const int32_t>>(ids.begin(), ids.end()), at::kCPU, prefixes);
  ASSERT_EQ(tokens.offsets.back(), 70 + 10 + 45 + 33);
  const at::Tensor qkv =
      Random(tokens.offsets.back(), config.query_size() + 2 * config.kv_size(), 1);
  const at::Tensor d_out = Random(tokens.offsets.back(), config.query_size(), 2);

  at::Tensor plain = qkv.to(at::kFloat);
  plain.requires_grad_(true);
  const at::Tensor expected =
      Reference(plain.index_select(0, tokens.whole->rows), tokens.whole->offsets, config)
          .index_select(0, tokens.whole->first);
  expected.backward(d_out.to(at::kFloat));

  const AttentionResult result = PackedAttention(qkv, tokens, config);
  const at::Tensor d_qkv = PackedAttentionGradient(d_out, qkv, result, tokens, config);
  EXPECT_LT(RelativeError(result.out, expected.detach()), 6e-3);
  for (const auto& [begin, count] : {std::pair{0, 45}, {45, 25}, {70, 10}, {80, 45}, {125, 33}}) {
    EXPECT_LT(RelativeError(d_qkv.narrow(0, begin, count), plain.grad().narrow(0, begin, count)),
              1.2e-2)
        << "rows from " << begin;
  }
}

ModelConfig Config(int64_t heads, int64_t kv_heads, int64_t head_dim, int64_t window = 0) {
  ModelConfig config;
  config.num_heads = heads;
  config.num_kv_heads = kv_heads;
  config.head_dim = head_dim;
  config.sliding_window = window;
  return config;
}

TEST(PackedAttentionTest, SharedKeyHeadsAndLengthsOnBothSidesOfEveryBlock) {
  ExpectMatches(Config(6, 2, 64), {1, 7, 8, 31, 33, 64, 65, 130, 200});
}

TEST(PackedAttentionTest, OtherHeadSizes) {
  ExpectMatches(Config(2, 2, 32), {5, 70});
  ExpectMatches(Config(4, 1, 128), {100, 3});
  ExpectMatches(Config(2, 1, 24), {40, 9});  // LibTorch's kernel
}

TEST(PackedAttentionTest, RowsThatSequencesShare) {
  ExpectMatchesWhereRowsAreShared(Config(6, 2, 64));
  ExpectMatchesWhereRowsAreShared(Config(4, 2, 64, 40));
  ExpectMatchesWhereRowsAreShared(Config(2, 1, 24));  // LibTorch's kernel
}

TEST(PackedAttentionTest, SlidingWindow) {
  ExpectMatches(Config(4, 2, 64, 40), {20, 150, 41, 300});
  ExpectMatches(Config(2, 2, 64, 1), {33});
}

// One sequence by one way of computing it: out, then d_qkv.
std::vector<at::Tensor> RunKernels(const Bf16AttentionKernels& kernels, const at::Tensor& qkv,
                                   const at::Tensor& d_out, const ModelConfig& config) {
  const int64_t rows = qkv.size(0);
  const auto bits = [](const at::Tensor& x) { return static_cast<uint16_t*>(x.data_ptr()); };
  const at::Tensor out = at::zeros_like(d_out);
  const at::Tensor d_qkv = at::zeros_like(qkv);
  const at::Tensor logsumexp = at::zeros({config.num_heads, rows});
  const Bf16Attention args = {.qkv = bits(qkv),
                              .heads = config.num_heads,
                              .kv_heads = config.num_kv_heads,
                              .head_dim = config.head_dim,
                              .window = config.sliding_window,
                              .scale = 0.125f,
                              .rows = rows,
                              .out = bits(out),
                              .logsumexp = logsumexp.data_ptr<float>(),
                              .d_out = bits(d_out),
                              .d_qkv = bits(d_qkv)};
  for (const bool backward : {false, true}) {
    // What an earlier sequence left in the scratch, not-a-numbers too, must not matter.
    const at::Tensor scratch =
        at::empty({static_cast<int64_t>(kernels.scratch(rows, config.head_dim, backward))},
                  at::kByte)
            .fill_(0xff);
    for (int64_t head = 0; head < config.num_kv_heads; ++head) {
      (backward ? kernels.backward : kernels.forward)(args, 0, rows, head, scratch.data_ptr());
    }
  }
  return {out, d_qkv};
}

TEST(PackedAttentionTest, TilesAndVectorsAgree) {
  for (const ModelConfig& config : {Config(6, 2, 64), Config(4, 2, 128, 40)}) {
    const Bf16AttentionKernels* const tiles = TileAttention(config.head_dim);
    const Bf16AttentionKernels* const vectors = VectorAttention(config.head_dim);
    if (tiles == nullptr || vectors == nullptr) GTEST_SKIP() << "this CPU has not both";
    for (const int64_t rows : {1, 17, 63, 65, 97, 130}) {
      const at::Tensor qkv = Random(rows, config.query_size() + 2 * config.kv_size(), 5);
      const at::Tensor d_out = Random(rows, config.query_size(), 6);
      const auto a = RunKernels(*tiles, qkv, d_out, config);
      const auto b = RunKernels(*vectors, qkv, d_out, config);
      for (size_t i = 0; i < a.size(); ++i) {
        EXPECT_LT(RelativeError(a[i], b[i].to(at::kFloat)), 4e-3) << rows << " rows, tensor " << i;
      }
    }
  }
}

TEST(PackedAttentionTest, TheSameBytesEveryTime) {
  const ModelConfig config = Config(6, 2, 64);
  const std::vector<int64_t> offsets = {0, 90, 117, 300};
  const at::Tensor qkv = Random(300, 10 * 64, 3);
  const at::Tensor d_out = Random(300, 6 * 64, 4);
  const auto run = [&] {
    const AttentionResult result = PackedAttention(qkv, offsets, config);
    return PackedAttentionGradient(d_out, qkv, result, offsets, config);
  };
  EXPECT_TRUE(run().equal(run()));
}

}  // namespace
}  // namespace wardtune
