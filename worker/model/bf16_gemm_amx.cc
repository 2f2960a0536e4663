// Products on the tile unit. Compiled with amx_bf16 and avx512_bf16 where the compiler can; calls
// nothing of the standard library, for the reason that elementwise_kernels.inc gives.
#include "worker/model/bf16_gemm.h"
#include "worker/model/cpu_features.h"

#if defined(__AMX_BF16__) && defined(__AVX512BF16__)

#include <immintrin.h>

namespace wardtune {
namespace {

// Neither asking for rows to be laid out (ADR 13) nor for packed weights (docs/performance.md)
// pays.
constexpr int64_t kRowsAhead = 0;
constexpr bool kPackedAhead = false;
constexpr bool kRowsStay = false;

#include "worker/model/bf16_gemm_layouts.inc"
#include "worker/model/tile_unit.inc"

constexpr int64_t kBlockRows = 32;  // two tiles
constexpr int64_t kPairStep = 16;   // a tile's
constexpr int64_t kPanelBytes = 1 << 20;
constexpr double kInPlaceRows = 0.5;        // measured: even at half as many rows as k
constexpr bool kWritesOnlyItsRows = false;  // tiles have 16
using Engine = TileUnit;

inline int64_t RowBlocks(int64_t rows) { return (rows + kBlockRows - 1) / kBlockRows; }
inline int64_t RowBlockBegin(int64_t rows, int64_t i) { return Min(rows, i * kBlockRows); }

// Up to 32 rows of the left factor for one stretch of k, as tiles of [16 rows][32 k's].
struct Rows {
  const uint16_t* data[2];
  int64_t row_bytes;
  int64_t step;  // numbers from one tile of k's to the next
  int tiles;
};

inline int TilesOf(int64_t count) { return count > 16 ? 2 : 1; }

inline bool CanStay(const GemmOperand& left, int64_t count, const Stretch& stretch) {
  return !left.k_first && count % 16 == 0 && stretch.depth == 2 * stretch.pairs;
}

inline Rows InPlace(const GemmOperand& left, int64_t row, int64_t count, const Stretch& stretch) {
  const uint16_t* from = left.data + row * left.stride + stretch.k;
  return {{from, from + 16 * left.stride}, left.stride * 2, 32, TilesOf(count)};
}

// One row of tiles, `step` numbers apart; rows past `count` and k's past the depth are zero.
void CopyTiles(const GemmOperand& left, int64_t row, int64_t count, const Stretch& stretch,
               uint16_t* to, int64_t step) {
  for (int64_t p = 0; p < stretch.pairs; p += 16, to += step) {
    __m512i block[16];
    LoadPairs(left, row, count, stretch, p, block);
    for (int i = 0; i < 16; ++i) _mm512_store_si512(to + i * 32, block[i]);
  }
}

// The same for a left factor whose stored rows are k's.
void TransposeTiles(const GemmOperand& left, int64_t row, int64_t count, const Stretch& stretch,
                    uint16_t* to, int64_t step) {
  const __mmask16 mask = FirstOf16(count);
  for (int64_t p = 0; p < stretch.pairs; p += 16, to += step) {
    __m512i block[16];
    for (int i = 0; i < 16; ++i) block[i] = PairOfRows(left, row, mask, stretch, p + i);
    Transpose16(block);
    for (int i = 0; i < 16; ++i) _mm512_store_si512(to + i * 32, block[i]);
  }
}

inline Rows Copied(const uint16_t* scratch, int64_t count) {
  const int tiles = TilesOf(count);
  return {{scratch, scratch + 512}, 64, tiles * 512, tiles};
}

Rows Copy(const GemmOperand& left, int64_t row, int64_t count, const Stretch& stretch,
          uint16_t* scratch) {
  const Rows rows = Copied(scratch, count);
  for (int t = 0; t < rows.tiles; ++t) {
    const int64_t rest = Min(16, count - t * 16);
    (left.k_first ? TransposeTiles : CopyTiles)(left, row + t * 16, rest, stretch,
                                                scratch + t * 512, rows.step);
  }
  return rows;
}

template <int kRowTiles, int kColumnTiles>
void MultiplyTiles(const Rows& rows, const uint16_t* block, int64_t pairs, bool accumulate,
                   Ahead ahead, float* c) {
  constexpr int64_t kStride = kGemmColumns * 4;
  WrittenToMemory(block);
  if (accumulate) {
    _tile_loadd(0, c, kStride);
    if constexpr (kColumnTiles == 2) _tile_loadd(1, c + 16, kStride);
    if constexpr (kRowTiles == 2) _tile_loadd(2, c + 16 * kGemmColumns, kStride);
    if constexpr (kRowTiles == 2 && kColumnTiles == 2) {
      _tile_loadd(3, c + 16 * kGemmColumns + 16, kStride);
    }
  } else {
    _tile_zero(0);
    if constexpr (kColumnTiles == 2) _tile_zero(1);
    if constexpr (kRowTiles == 2) _tile_zero(2);
    if constexpr (kRowTiles == 2 && kColumnTiles == 2) _tile_zero(3);
  }
  const uint16_t* a0 = rows.data[0];
  const uint16_t* a1 = rows.data[1];
  for (int64_t p = 0; p < pairs; p += kAheadPairs) {
    ahead.Prefetch();
    _tile_loadd(6, block, kStride);
    _tile_loadd(4, a0, rows.row_bytes);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kColumnTiles == 2) {
      _tile_loadd(7, block + 32, kStride);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (kRowTiles == 2) {
      _tile_loadd(5, a1, rows.row_bytes);
      _tile_dpbf16ps(2, 5, 6);
    }
    if constexpr (kRowTiles == 2 && kColumnTiles == 2) _tile_dpbf16ps(3, 5, 7);
    block += 16 * 2 * kGemmColumns;
    a0 += rows.step;
    a1 += rows.step;
  }
  _tile_stored(0, c, kStride);
  if constexpr (kColumnTiles == 2) _tile_stored(1, c + 16, kStride);
  if constexpr (kRowTiles == 2) _tile_stored(2, c + 16 * kGemmColumns, kStride);
  if constexpr (kRowTiles == 2 && kColumnTiles == 2) {
    _tile_stored(3, c + 16 * kGemmColumns + 16, kStride);
  }
}

void MultiplyBlock(const Rows& rows, const uint16_t* block, int64_t columns, int64_t pairs,
                   bool accumulate, const Ahead& ahead, float* c) {
  const auto multiply = rows.tiles == 2
                            ? (columns > 16 ? MultiplyTiles<2, 2> : MultiplyTiles<2, 1>)
                            : (columns > 16 ? MultiplyTiles<1, 2> : MultiplyTiles<1, 1>);
  multiply(rows, block, pairs, accumulate, ahead, c);
}

#include "worker/model/bf16_gemm.inc"

}  // namespace

const Bf16Gemm* TileGemm() { return CpuHasTileUnit() && CpuHasAvx512Bf16() ? &kGemm : nullptr; }

}  // namespace wardtune

#else

namespace wardtune {

const Bf16Gemm* TileGemm() { return nullptr; }

}  // namespace wardtune

#endif
