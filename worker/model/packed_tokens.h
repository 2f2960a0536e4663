// Tokens of many sequences as one stream of rows, without padding.
//
// Sequences that begin alike, as those with one system prompt do, can have the rows of that prefix
// once. Under causal attention the same tokens at the same places have the same states in each of
// them, so nothing changes but rounding; the gradient of a shared row is the sum of what all its
// sequences give. Attention alone looks at whole sequences (packed_attention.h).
// Thread safety: pure functions on their arguments.
#ifndef WARDTUNE_WORKER_MODEL_PACKED_TOKENS_H_
#define WARDTUNE_WORKER_MODEL_PACKED_TOKENS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace wardtune {

// The first `tokens` tokens of a sequence are those of the sequence number `with`, which comes
// before it and shares none itself. 0 tokens: it has all its rows to itself.
struct SharedPrefix {
  size_t with = 0;
  int64_t tokens = 0;
};

// How whole sequences, one behind the other, lie in a stream where some share rows.
struct WholeSequences {
  std::vector<int64_t> offsets;  // sequences + 1, counted in their own tokens
  at::Tensor rows;               // [whole tokens] int64: the row of each
  at::Tensor first;              // [rows] int64: the first whole token at each row
  // Whole tokens begin .. begin + tokens are copies of the rows from `row` on. Those of one row lie
  // side by side.
  struct Copy {
    int64_t begin;
    int64_t row;
    int64_t tokens;
  };
  std::vector<Copy> copies;
};

struct PackedTokens {
  at::Tensor ids;        // [rows] int64, on the model's device
  at::Tensor positions;  // [rows] int64, from 0 in each sequence
  // Token t of sequence i, unless another sequence has its row, is row offsets[i] + t. The last
  // entry is the number of rows; one entry more than sequences.
  std::vector<int64_t> offsets;
  std::optional<WholeSequences> whole;  // only where sequences share rows
};

// `prefixes` has an entry for each sequence, or none at all.
// REQUIRES: no empty sequence; every sequence is longer than what it shares.
PackedTokens PackTokens(std::span<const std::span<const int32_t>> sequences, at::Device device,
                        std::span<const SharedPrefix> prefixes = {});

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_PACKED_TOKENS_H_
