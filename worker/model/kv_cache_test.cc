#include "worker/model/kv_cache.h"

#include <gtest/gtest.h>

#include "worker/model/decode_attention.h"
#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

ModelWeights Weights(int64_t heads, int64_t kv_heads, int64_t head_dim, int64_t window) {
  ModelWeights weights;
  weights.dtype = at::kBFloat16;
  weights.config.num_layers = 1;
  weights.config.num_heads = heads;
  weights.config.num_kv_heads = kv_heads;
  weights.config.head_dim = head_dim;
  weights.config.sliding_window = window;
  return weights;
}

// Softmax attention of the last row of one sequence's qkv, in fp32.
at::Tensor LastRow(const at::Tensor& qkv, const ModelConfig& c) {
  const at::Tensor x = qkv.to(at::kFloat);
  const int64_t rows = x.size(0);
  const int64_t first = c.sliding_window > 0 ? std::max<int64_t>(0, rows - c.sliding_window) : 0;
  std::vector<at::Tensor> heads;
  for (int64_t h = 0; h < c.num_heads; ++h) {
    const int64_t group = h / (c.num_heads / c.num_kv_heads);
    const auto columns = [&](int64_t at) {
      return x.narrow(1, at, c.head_dim).narrow(0, first, rows - first);
    };
    const at::Tensor q = x.select(0, rows - 1).narrow(0, h * c.head_dim, c.head_dim);
    const at::Tensor k = columns(c.query_size() + group * c.head_dim);
    const at::Tensor v = columns(c.query_size() + c.kv_size() + group * c.head_dim);
    const at::Tensor p = at::softmax(at::mv(k, q) / std::sqrt(static_cast<double>(c.head_dim)), 0);
    heads.push_back(at::mv(v.t(), p));
  }
  return at::cat(heads);
}

void ExpectMatches(const ModelWeights& weights, const std::vector<int64_t>& lengths) {
  const ModelConfig& c = weights.config;
  KvCache cache(weights, static_cast<int64_t>(lengths.size()), 150);
  std::vector<at::Tensor> sequences;
  std::vector<at::Tensor> stored;
  std::vector<at::Tensor> newest;
  std::vector<CachePlace> places;  // of what is stored first
  CacheRows rows;                  // the newest tokens
  for (size_t i = 0; i < lengths.size(); ++i) {
    sequences.push_back(
        at::randn({lengths[i] + 1, c.query_size() + 2 * c.kv_size()}).to(at::kBFloat16));
    stored.push_back(sequences.back().narrow(0, 0, lengths[i]));
    newest.push_back(sequences.back().narrow(0, lengths[i], 1));
    const auto slot = static_cast<int64_t>(i);
    const auto first = static_cast<int64_t>(places.size());
    for (int64_t p = 0; p < lengths[i]; ++p) places.push_back({first + p, slot, p});
    rows.slots.push_back(slot);
    rows.lengths.push_back(lengths[i] + 1);
    rows.places.push_back({slot, slot, lengths[i]});
  }
  cache.Store(0, at::cat(stored), places);
  const at::Tensor out = cache.Extend(0, at::cat(newest), rows).to(at::kFloat);
  for (size_t i = 0; i < lengths.size(); ++i) {
    const at::Tensor expected = LastRow(sequences[i], c);
    EXPECT_LT(((out[static_cast<int64_t>(i)] - expected).norm() / expected.norm()).item<double>(),
              6e-3)
        << "length " << lengths[i];
  }
}

TEST(KvCacheTest, ANewTokenSeesItsSequence) {
  at::manual_seed(2);
  ExpectMatches(Weights(6, 2, 64, 0), {1, 15, 16, 17, 100, 149});
  ExpectMatches(Weights(5, 1, 32, 0), {3, 40, 149});  // 149: then the cache is full
  ExpectMatches(Weights(4, 2, 24, 0), {7, 33});       // LibTorch's vectorised loops
}

TEST(KvCacheTest, SlidingWindow) {
  at::manual_seed(3);
  ExpectMatches(Weights(4, 2, 64, 5), {2, 5, 6, 90});
}

TEST(KvCacheTest, TokensThatComeTogetherAfterASharedPrefix) {
  at::manual_seed(4);
  const ModelWeights weights = Weights(6, 2, 64, 0);
  const ModelConfig& c = weights.config;
  const int64_t width = c.query_size() + 2 * c.kv_size();
  const at::Tensor prefix = at::randn({9, width}).to(at::kBFloat16);
  const at::Tensor tails = at::randn({5, width}).to(at::kBFloat16);  // 2 of slot 0, 3 of slot 1
  KvCache cache(weights, 2, 20);
  std::vector<CachePlace> of_both;
  for (int64_t p = 0; p < 9; ++p) of_both.insert(of_both.end(), {{p, 0, p}, {p, 1, p}});
  cache.Store(0, prefix, of_both);
  const CacheRows rows = {{0, 0, 1, 1, 1},
                          {10, 11, 10, 11, 12},
                          {{0, 0, 9}, {1, 0, 10}, {2, 1, 9}, {3, 1, 10}, {4, 1, 11}}};
  const at::Tensor out = cache.Extend(0, tails, rows).to(at::kFloat);
  const auto expect = [&](int64_t row, int64_t tail_begin, int64_t tail_rows) {
    const at::Tensor expected =
        LastRow(at::cat({prefix, tails.narrow(0, tail_begin, tail_rows)}), c);
    EXPECT_LT(((out[row] - expected).norm() / expected.norm()).item<double>(), 6e-3) << row;
  };
  expect(0, 0, 1);
  expect(1, 0, 2);
  expect(2, 2, 1);
  expect(4, 2, 3);
}

TEST(KvCacheTest, ABeginningIsReadFromTheSlotThatSharesIt) {
  if (!HasBf16DecodeAttention(64)) GTEST_SKIP() << "other kernels read each slot's own";
  at::manual_seed(5);
  for (const int64_t shared : {1, 2, 15, 16, 23, 40}) {
    const ModelWeights weights = Weights(6, 2, 64, shared == 23 ? 30 : 0);
    const ModelConfig& c = weights.config;
    const int64_t width = c.query_size() + 2 * c.kv_size();
    const at::Tensor sequence = at::randn({41, width}).to(at::kBFloat16);
    // Slot 1 has the beginning; slot 0 has not-a-numbers there, which must not be read.
    std::vector<CachePlace> places;
    for (int64_t p = 0; p < 40; ++p) places.push_back({p, p < shared ? 1 : 0, p});
    KvCache cache(weights, 2, 50);
    const at::Tensor nan = at::full({40, width}, std::nan("")).to(at::kBFloat16);
    std::vector<CachePlace> everywhere;
    for (int64_t p = 0; p < 40; ++p) everywhere.insert(everywhere.end(), {{p, 0, p}, {p, 1, p}});
    cache.Store(0, nan, everywhere);
    cache.Store(0, sequence, places);
    cache.ReadBeginningsFrom({{1, shared}, {}});
    const CacheRows newest = {{0}, {41}, {{0, 0, 40}}};
    const at::Tensor out = cache.Extend(0, sequence.narrow(0, 40, 1), newest).to(at::kFloat);
    const at::Tensor expected = LastRow(sequence, c);
    EXPECT_LT(((out[0] - expected).norm() / expected.norm()).item<double>(), 6e-3) << shared;
  }
}

}  // namespace
}  // namespace wardtune
