// Products by vdpbf16ps. Compiled with avx512_bf16 where the compiler can; calls nothing of the
// standard library, for the reason that elementwise_kernels.inc gives.
#include "worker/model/bf16_gemm.h"
#include "worker/model/cpu_features.h"

#if defined(__AVX512BF16__)

#include <immintrin.h>

namespace wardtune {
namespace {

constexpr int64_t kRowsAhead = 16;
constexpr bool kPackedAhead = true;
constexpr bool kRowsStay = true;

#include "worker/model/bf16_gemm_layouts.inc"

constexpr int64_t kTileRows = 12;  // with two vectors of columns 24 of the 32 registers are sums
constexpr int64_t kBlockRows =
    48;  // four tiles: a block of columns is read from the cache for each
constexpr int64_t kPairStep = 1;
constexpr int64_t kPanelBytes = 3 << 18;
// Laying out the rows of x costs less than laying out weights.
constexpr double kInPlaceRows = 1e9;
constexpr bool kWritesOnlyItsRows = true;
struct Engine {};

// Tiles of nearly equal height: a last one of one row would waste most of its loads.
inline int64_t Tiles(int64_t rows) { return (rows + kTileRows - 1) / kTileRows; }
inline int64_t TileBegin(int64_t rows, int64_t tile) { return rows * tile / Tiles(rows); }

constexpr int64_t kBlockTiles = kBlockRows / kTileRows;
inline int64_t RowBlocks(int64_t rows) { return (Tiles(rows) + kBlockTiles - 1) / kBlockTiles; }
inline int64_t RowBlockBegin(int64_t rows, int64_t i) {
  return TileBegin(rows, Min(Tiles(rows), i * kBlockTiles));
}

constexpr int64_t kInTiles = -1;

// Up to 48 rows of the left factor for one stretch of k: where they lie, or as tiles of
// [pairs][rows, 2].
struct Rows {
  const uint16_t* data;
  int64_t count;
  int64_t stride;  // from one row to the next, or kInTiles
};

inline bool CanStay(const GemmOperand& left, int64_t /*count*/, const Stretch& stretch) {
  return !left.k_first && stretch.depth == 2 * stretch.pairs;
}

inline Rows InPlace(const GemmOperand& left, int64_t row, int64_t count, const Stretch& stretch) {
  return {left.data + row * left.stride + stretch.k, count, left.stride};
}

// One tile of a left factor along whose rows k runs.
void CopyTile(const GemmOperand& left, int64_t row, int64_t count, const Stretch& stretch,
              uint16_t* to) {
  const __mmask16 rows = FirstOf16(count);
  for (int64_t p = 0; p < stretch.pairs; p += 16) {
    __m512i block[16];
    LoadPairs(left, row, count, stretch, p, block);
    Transpose16(block);
    for (int64_t i = 0; i < Min(16, stretch.pairs - p); ++i) {
      _mm512_mask_storeu_epi32(to + (p + i) * count * 2, rows, block[i]);
    }
  }
}

// The same for a left factor whose stored rows are k's.
void TransposeTile(const GemmOperand& left, int64_t row, int64_t count, const Stretch& stretch,
                   uint16_t* to) {
  const __mmask16 rows = FirstOf16(count);
  for (int64_t p = 0; p < stretch.pairs; ++p) {
    _mm512_mask_storeu_epi32(to + p * count * 2, rows, PairOfRows(left, row, rows, stretch, p));
  }
}

inline Rows Copied(const uint16_t* scratch, int64_t count) { return {scratch, count, kInTiles}; }

Rows Copy(const GemmOperand& left, int64_t row, int64_t count, const Stretch& stretch,
          uint16_t* scratch) {
  for (int64_t tile = 0; tile < Tiles(count); ++tile) {
    const int64_t begin = TileBegin(count, tile);
    const int64_t rows = TileBegin(count, tile + 1) - begin;
    (left.k_first ? TransposeTile : CopyTile)(left, row + begin, rows, stretch,
                                              scratch + begin * stretch.pairs * 2);
  }
  return Copied(scratch, count);
}

// kRows rows, `row` numbers apart, whose pairs are `pair` numbers apart.
template <int kRows, int kVectors>
inline void MultiplyRows(const uint16_t* a, int64_t row, int64_t pair, const uint16_t* block,
                         int64_t pairs, bool accumulate, Ahead& ahead, float* c) {
  __m512 sums[kRows][kVectors];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = accumulate ? _mm512_load_ps(c + r * kGemmColumns + v * 16) : _mm512_setzero_ps();
    }
  }
  for (int64_t p = 0; p < pairs;) {
    ahead.Prefetch();
    for (const int64_t end = Min(p + kAheadPairs, pairs); p < end; ++p) {
      __m512bh w[kVectors];
      for (int v = 0; v < kVectors; ++v) w[v] = (__m512bh)_mm512_load_si512(block + v * 32);
#pragma GCC unroll 12
      for (int r = 0; r < kRows; ++r) {
        const __m512bh x = BroadcastPair(a + r * row);
        for (int v = 0; v < kVectors; ++v) sums[r][v] = _mm512_dpbf16_ps(sums[r][v], w[v], x);
      }
      a += pair;
      block += 2 * kGemmColumns;
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      _mm512_store_ps(c + r * kGemmColumns + v * 16, sums[r][v]);
    }
  }
}

// A tile by its distances: the compiler writes those of a laid-out one into the instructions.
template <int kRows, int kVectors>
void MultiplyTile(const uint16_t* a, int64_t stride, const uint16_t* block, int64_t pairs,
                  bool accumulate, Ahead& ahead, float* c) {
  if (stride == kInTiles) {
    MultiplyRows<kRows, kVectors>(a, 2, 2 * kRows, block, pairs, accumulate, ahead, c);
  } else {
    MultiplyRows<kRows, kVectors>(a, stride, 2, block, pairs, accumulate, ahead, c);
  }
}

using Tile = void (*)(const uint16_t*, int64_t, const uint16_t*, int64_t, bool, Ahead&, float*);
template <int kVectors>
constexpr Tile kTiles[kTileRows + 1] = {nullptr,
                                        MultiplyTile<1, kVectors>,
                                        MultiplyTile<2, kVectors>,
                                        MultiplyTile<3, kVectors>,
                                        MultiplyTile<4, kVectors>,
                                        MultiplyTile<5, kVectors>,
                                        MultiplyTile<6, kVectors>,
                                        MultiplyTile<7, kVectors>,
                                        MultiplyTile<8, kVectors>,
                                        MultiplyTile<9, kVectors>,
                                        MultiplyTile<10, kVectors>,
                                        MultiplyTile<11, kVectors>,
                                        MultiplyTile<12, kVectors>};

void MultiplyBlock(const Rows& rows, const uint16_t* block, int64_t columns, int64_t pairs,
                   bool accumulate, Ahead ahead, float* c) {
  for (int64_t tile = 0; tile < Tiles(rows.count); ++tile) {
    const int64_t begin = TileBegin(rows.count, tile);
    const int64_t height = TileBegin(rows.count, tile + 1) - begin;
    const uint16_t* a = rows.data + begin * (rows.stride == kInTiles ? pairs * 2 : rows.stride);
    const Tile multiply = columns > 16 ? kTiles<2>[height] : kTiles<1>[height];
    multiply(a, rows.stride, block, pairs, accumulate, ahead, c + begin * kGemmColumns);
    ahead.lines = 0;  // the first tile's sweep has asked for the block's share
  }
}

#include "worker/model/bf16_gemm.inc"

}  // namespace

const Bf16Gemm* VectorGemm() { return CpuHasAvx512Bf16() ? &kGemm : nullptr; }

}  // namespace wardtune

#else

namespace wardtune {

const Bf16Gemm* VectorGemm() { return nullptr; }

}  // namespace wardtune

#endif
