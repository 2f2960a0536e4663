// Compiled with avx512_bf16 where the compiler can; calls nothing of the standard library, for the
// reason that elementwise_kernels.inc gives.
#include "worker/model/attention_kernels.h"
#include "worker/model/cpu_features.h"

#if defined(__AVX512BF16__)

#include <immintrin.h>

namespace wardtune {
namespace {

#include "worker/model/attention_tiles.inc"

// What one block of queries sees.
struct Block {
  int64_t first;  // query
  int64_t count;
  int64_t begin;  // key columns [begin, end), multiples of 32
  int64_t end;

  Block(int64_t first_query, int64_t length, int64_t columns, int64_t window)
      : first(first_query),
        count(Min(kBlock, length - first_query)),
        begin(window > 0 ? Max(0, first_query - window + 1) / kColumns * kColumns : 0),
        end(Min(columns, RoundUp(first_query + count, kColumns))) {}
  // Where the columns of the eight queries from `row` end.
  int64_t GroupEnd(int64_t row) const { return Min(end, RoundUp(first + row + kRows, kColumns)); }
};

// Columns that query `i` sees.
inline int64_t Low(int64_t i, int64_t window) { return window > 0 ? Max(0, i - window + 1) : 0; }

// scores[begin, end) become probabilities in bf16; returns the row's log-sum-exp and 1 / sum.
struct RowSoftmax {
  float logsumexp;
  float inverse;
};
RowSoftmax Softmax(const float* scores, int64_t begin, int64_t end, int64_t low, int64_t high,
                   float scale, uint16_t* out) {
  __m512 top = _mm512_set1_ps(-3.0e38f);
  for (int64_t j = begin; j < end; j += 16) {
    top = _mm512_mask_max_ps(top, Visible(j, low, high), top, _mm512_loadu_ps(scores + j));
  }
  const float largest = _mm512_reduce_max_ps(top);
  const __m512 shift = _mm512_set1_ps(largest * scale);
  __m512 sum = _mm512_setzero_ps();
  for (int64_t j = begin; j < end; j += 16) {
    const __m512 x = _mm512_fmsub_ps(_mm512_loadu_ps(scores + j), _mm512_set1_ps(scale), shift);
    const __m512 e = _mm512_maskz_mov_ps(Visible(j, low, high), Exp(x));
    sum = _mm512_add_ps(sum, e);
    StoreBf16(out + j, e);
  }
  const float total = _mm512_reduce_add_ps(sum);
  return {largest * scale + __builtin_logf(total), 1.0f / total};
}

// Hands out aligned pieces of the caller's scratch.
class Scratch {
 public:
  explicit Scratch(void* memory) : next_(static_cast<char*>(memory)) {}
  template <typename T>
  T* Take(int64_t count) {
    T* const piece = reinterpret_cast<T*>(next_);
    next_ += RoundUp(count * static_cast<int64_t>(sizeof(T)), 64);
    return piece;
  }

 private:
  char* next_;
};

// Where one sequence's heads lie.
struct Layout {
  Layout(const Bf16Attention& args, int64_t begin, int64_t kv_head)
      : d(args.head_dim),
        stride((args.heads + 2 * args.kv_heads) * d),
        out_stride(args.heads * d),
        group(args.heads / args.kv_heads),
        key_column((args.heads + kv_head) * d),
        value_column((args.heads + args.kv_heads + kv_head) * d),
        qkv(args.qkv + begin * stride) {}
  int64_t d, stride, out_stride, group, key_column, value_column;
  const uint16_t* qkv;
};

inline Pairs RowsOf(const uint16_t* rows, int64_t stride) {
  return {reinterpret_cast<const uint32_t*>(rows), stride / 2, 1};
}

void ForwardGroup(const Bf16Attention& args, const Layout& at, const Block& block, int64_t row,
                  int64_t head, int64_t begin, const uint16_t* queries, const uint32_t* keys,
                  const uint32_t* values, int64_t columns, float* scores, uint16_t* p,
                  float* result) {
  const int64_t end = block.GroupEnd(row);
  RowTiles(RowsOf(queries + row * at.d, at.d), keys + block.begin, columns, at.d / 2,
           scores + block.begin, columns, end - block.begin);
  RowSoftmax softmax[kRows];
  for (int64_t r = 0; r < kRows; ++r) {
    const int64_t i = block.first + row + r;
    softmax[r] = Softmax(scores + r * columns, block.begin, end, Low(i, args.window), i + 1,
                         args.scale, p + r * columns);
  }
  RowTiles(RowsOf(p + block.begin, columns), values + block.begin / 2 * at.d, at.d,
           (end - block.begin) / 2, result, at.d, at.d);
  for (int64_t r = 0; r < Min(kRows, block.count - row); ++r) {
    const int64_t i = begin + block.first + row + r;
    args.logsumexp[head * args.rows + i] = softmax[r].logsumexp;
    for (int64_t c = 0; c < at.d; c += 16) {
      StoreBf16(args.out + i * at.out_stride + head * at.d + c,
                _mm512_mul_ps(_mm512_loadu_ps(result + r * at.d + c),
                              _mm512_set1_ps(softmax[r].inverse)));
    }
  }
}

// The arrays of the backward pass of one key head.
struct BackwardScratch {
  BackwardScratch(void* memory, int64_t columns, int64_t d) : columns(columns) {
    Scratch scratch(memory);
    keys_t = scratch.Take<uint32_t>(d / 2 * columns);
    values_t = scratch.Take<uint32_t>(d / 2 * columns);
    keys = scratch.Take<uint32_t>(columns / 2 * d);
    queries = scratch.Take<uint16_t>(kBlock * d);
    d_out = scratch.Take<uint16_t>(kBlock * d);
    queries_t = scratch.Take<uint32_t>(kBlock / 2 * d);
    d_out_t = scratch.Take<uint32_t>(kBlock / 2 * d);
    scores = scratch.Take<float>(kRows * columns);
    d_p = scratch.Take<float>(kRows * columns);
    d_scores = scratch.Take<uint16_t>(kRows * columns);
    p_pairs = scratch.Take<uint32_t>(kBlock / 2 * columns);
    d_score_pairs = scratch.Take<uint32_t>(kBlock / 2 * columns);
    d_keys_t = scratch.Take<float>(d * columns);
    d_values_t = scratch.Take<float>(d * columns);
    d_query = scratch.Take<float>(kRows * d);
  }
  int64_t columns;
  uint32_t* keys_t;    // [d / 2, columns]
  uint32_t* values_t;  // [d / 2, columns]
  uint32_t* keys;      // [columns / 2, d]
  uint16_t* queries;   // the block's rows, [64, d]
  uint16_t* d_out;
  uint32_t* queries_t;  // the block's rows interleaved, [32, d]
  uint32_t* d_out_t;
  float* scores;  // of eight queries, [8, columns]
  float* d_p;
  uint16_t* d_scores;
  uint32_t* p_pairs;  // of two queries each, [32, columns]
  uint32_t* d_score_pairs;
  float* d_keys_t;  // [d, columns], summed over queries and heads
  float* d_values_t;
  float* d_query;
};

// Puts two rows' numbers side by side.
inline __m512i Interleave(__m256i even, __m256i odd) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32(even),
                         _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16));
}

// What a query row brings into the backward pass.
struct QueryRow {
  int64_t low, high;  // columns that it sees
  float logsumexp;
  float delta;  // sum of out * d_out
};

QueryRow MakeQueryRow(const Bf16Attention& args, const Layout& at, const Block& block, int64_t row,
                      int64_t head, int64_t begin) {
  if (row >= block.count) return {0, 0, 0.0f, 0.0f};
  const int64_t i = begin + block.first + row;
  const uint16_t* out = args.out + i * at.out_stride + head * at.d;
  const uint16_t* d_out = args.d_out + i * at.out_stride + head * at.d;
  __m512 sum = _mm512_setzero_ps();
  for (int64_t c = 0; c < at.d; c += 16) {
    sum = _mm512_fmadd_ps(FromBf16(out + c), FromBf16(d_out + c), sum);
  }
  const int64_t local = block.first + row;
  return {Low(local, args.window), local + 1, args.logsumexp[head * args.rows + i],
          _mm512_reduce_add_ps(sum)};
}

// Probabilities and the scores' gradients of two queries, columns [begin, end): as pairs of both
// rows, and the gradients as rows too.
void PairGradients(const Bf16Attention& args, const QueryRow (&rows)[2], int64_t r,
                   const Block& block, int64_t end, int64_t pair, BackwardScratch& s) {
  for (int64_t j = block.begin; j < end; j += 16) {
    __m256i p[2];
    __m256i d[2];
    for (int k = 0; k < 2; ++k) {
      const int64_t at = (r + k) * s.columns + j;
      const __m512 x = _mm512_fmsub_ps(_mm512_loadu_ps(s.scores + at), _mm512_set1_ps(args.scale),
                                       _mm512_set1_ps(rows[k].logsumexp));
      // Rounding may lift a score just above its row's log-sum-exp; Exp takes no positive numbers.
      const __m512 e = _mm512_maskz_mov_ps(Visible(j, rows[k].low, rows[k].high),
                                           Exp(_mm512_min_ps(x, _mm512_setzero_ps())));
      const __m512 g = _mm512_sub_ps(_mm512_loadu_ps(s.d_p + at), _mm512_set1_ps(rows[k].delta));
      p[k] = ToBf16(e);
      d[k] = ToBf16(_mm512_mul_ps(_mm512_mul_ps(e, g), _mm512_set1_ps(args.scale)));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(s.d_scores + at), d[k]);
    }
    _mm512_storeu_si512(s.p_pairs + pair * s.columns + j, Interleave(p[0], p[1]));
    _mm512_storeu_si512(s.d_score_pairs + pair * s.columns + j, Interleave(d[0], d[1]));
  }
  for (int64_t j = end; j < block.end; j += 16) {
    _mm512_storeu_si512(s.p_pairs + pair * s.columns + j, _mm512_setzero_si512());
    _mm512_storeu_si512(s.d_score_pairs + pair * s.columns + j, _mm512_setzero_si512());
  }
}

// Eight queries: their share of the pairs, and their own gradient.
void BackwardGroup(const Bf16Attention& args, const Layout& at, const Block& block, int64_t row,
                   int64_t head, int64_t begin, BackwardScratch& s) {
  const int64_t end = block.GroupEnd(row);
  const int64_t width = end - block.begin;
  RowTiles(RowsOf(s.queries + row * at.d, at.d), s.keys_t + block.begin, s.columns, at.d / 2,
           s.scores + block.begin, s.columns, width);
  RowTiles(RowsOf(s.d_out + row * at.d, at.d), s.values_t + block.begin, s.columns, at.d / 2,
           s.d_p + block.begin, s.columns, width);
  for (int64_t r = 0; r < kRows; r += 2) {
    const QueryRow rows[2] = {MakeQueryRow(args, at, block, row + r, head, begin),
                              MakeQueryRow(args, at, block, row + r + 1, head, begin)};
    PairGradients(args, rows, r, block, end, (row + r) / 2, s);
  }
  RowTiles(RowsOf(s.d_scores + block.begin, s.columns), s.keys + block.begin / 2 * at.d, at.d,
           width / 2, s.d_query, at.d, at.d);
  for (int64_t r = 0; r < Min(kRows, block.count - row); ++r) {
    uint16_t* to = args.d_qkv + (begin + block.first + row + r) * at.stride + head * at.d;
    for (int64_t c = 0; c < at.d; c += 16) {
      StoreBf16(to + c, _mm512_loadu_ps(s.d_query + r * at.d + c));
    }
  }
}

// Adds the block's part of the keys' and values' gradients. Queries in front of a column do not
// see it, so the pairs start at the column's own query.
void AccumulateKeysValues(const Layout& at, const Block& block, BackwardScratch& s) {
  for (int64_t j = block.begin; j < block.end; j += kColumns) {
    const int64_t skip = Max(0, j - block.first) / 2;
    const int64_t pairs = RoundUp(block.count, 2) / 2 - skip;
    for (int64_t c = 0; c < at.d; c += kRows) {
      Tile({s.d_out_t + skip * at.d + c, 1, at.d}, s.p_pairs + skip * s.columns + j, s.columns,
           pairs, s.d_values_t + c * s.columns + j, s.columns, /*accumulate=*/true);
      Tile({s.queries_t + skip * at.d + c, 1, at.d}, s.d_score_pairs + skip * s.columns + j,
           s.columns, pairs, s.d_keys_t + c * s.columns + j, s.columns, /*accumulate=*/true);
    }
  }
}

// rows[j][c] = bf16(from[c][j]).
void StoreTransposed(const float* from, int64_t columns, int64_t length, int64_t d, uint16_t* rows,
                     int64_t stride) {
  for (int64_t j = 0; j < length; j += 16) {
    for (int64_t c = 0; c < d; c += 16) {
      __m512i block[16];
      for (int i = 0; i < 16; ++i) block[i] = _mm512_loadu_si512(from + (c + i) * columns + j);
      Transpose16(block);
      for (int i = 0; i < 16 && j + i < length; ++i) {
        StoreBf16(rows + (j + i) * stride + c, (__m512)block[i]);
      }
    }
  }
}

}  // namespace

bool HasBf16Attention(int64_t head_dim) {
  return CpuHasAvx512Bf16() && head_dim % 32 == 0 && head_dim <= 256;
}

size_t Bf16AttentionScratch(int64_t length, int64_t head_dim, bool backward) {
  const int64_t columns = RoundUp(length, kColumns);
  const int64_t d = head_dim;
  const int64_t forward =
      4 * columns * d / 2 * 2 + 2 * kBlock * d + 6 * kRows * columns + 4 * kRows * d;
  const int64_t words = 3 * columns * d / 2 + kBlock * d + kBlock * d + 2 * kRows * columns +
                        kRows * columns / 2 + kBlock * columns + 2 * d * columns + kRows * d;
  return static_cast<size_t>((backward ? 4 * words : forward) + 16 * 64);
}

void Bf16AttentionForward(const Bf16Attention& args, int64_t begin, int64_t length, int64_t kv_head,
                          void* memory) {
  const Layout at(args, begin, kv_head);
  const int64_t columns = RoundUp(length, kColumns);
  Scratch scratch(memory);
  uint32_t* const keys = scratch.Take<uint32_t>(at.d / 2 * columns);
  uint32_t* const values = scratch.Take<uint32_t>(columns / 2 * at.d);
  uint16_t* const queries = scratch.Take<uint16_t>(kBlock * at.d);
  float* const scores = scratch.Take<float>(kRows * columns);
  uint16_t* const p = scratch.Take<uint16_t>(kRows * columns);
  float* const result = scratch.Take<float>(kRows * at.d);
  PackTransposed(at.qkv + at.key_column, at.stride, length, at.d, columns, keys);
  PackInterleaved(at.qkv + at.value_column, at.stride, length, at.d, columns, values);
  for (int64_t head = kv_head * at.group; head < (kv_head + 1) * at.group; ++head) {
    for (int64_t first = 0; first < length; first += kBlock) {
      const Block block(first, length, columns, args.window);
      CopyBlock(at.qkv + first * at.stride + head * at.d, at.stride, block.count, at.d, queries);
      for (int64_t row = 0; row < block.count; row += kRows) {
        ForwardGroup(args, at, block, row, head, begin, queries, keys, values, columns, scores, p,
                     result);
      }
    }
  }
}

void Bf16AttentionBackward(const Bf16Attention& args, int64_t begin, int64_t length,
                           int64_t kv_head, void* memory) {
  const Layout at(args, begin, kv_head);
  const int64_t columns = RoundUp(length, kColumns);
  BackwardScratch s(memory, columns, at.d);
  PackTransposed(at.qkv + at.key_column, at.stride, length, at.d, columns, s.keys_t);
  PackTransposed(at.qkv + at.value_column, at.stride, length, at.d, columns, s.values_t);
  PackInterleaved(at.qkv + at.key_column, at.stride, length, at.d, columns, s.keys);
  for (int64_t i = 0; i < at.d * columns; i += 16) {
    _mm512_storeu_ps(s.d_keys_t + i, _mm512_setzero_ps());
    _mm512_storeu_ps(s.d_values_t + i, _mm512_setzero_ps());
  }
  for (int64_t head = kv_head * at.group; head < (kv_head + 1) * at.group; ++head) {
    for (int64_t first = 0; first < length; first += kBlock) {
      const Block block(first, length, columns, args.window);
      CopyBlock(at.qkv + first * at.stride + head * at.d, at.stride, block.count, at.d, s.queries);
      CopyBlock(args.d_out + (begin + first) * at.out_stride + head * at.d, at.out_stride,
                block.count, at.d, s.d_out);
      PackInterleaved(s.queries, at.d, kBlock, at.d, kBlock, s.queries_t);
      PackInterleaved(s.d_out, at.d, kBlock, at.d, kBlock, s.d_out_t);
      for (int64_t row = 0; row < block.count; row += kRows) {
        BackwardGroup(args, at, block, row, head, begin, s);
      }
      AccumulateKeysValues(at, block, s);
    }
  }
  uint16_t* const rows = args.d_qkv + begin * at.stride;
  StoreTransposed(s.d_keys_t, columns, length, at.d, rows + at.key_column, at.stride);
  StoreTransposed(s.d_values_t, columns, length, at.d, rows + at.value_column, at.stride);
}

}  // namespace wardtune

#else

namespace wardtune {

bool HasBf16Attention(int64_t) { return false; }
size_t Bf16AttentionScratch(int64_t, int64_t, bool) { return 0; }
void Bf16AttentionForward(const Bf16Attention&, int64_t, int64_t, int64_t, void*) {}
void Bf16AttentionBackward(const Bf16Attention&, int64_t, int64_t, int64_t, void*) {}

}  // namespace wardtune

#endif
