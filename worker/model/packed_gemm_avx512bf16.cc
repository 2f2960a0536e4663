// Compiled with avx512_bf16 where the compiler can; calls nothing of the standard library, for the
// reason that elementwise_kernels.inc gives.
#include "worker/model/cpu_features.h"
#include "worker/model/packed_gemm.h"

namespace wardtune {

int64_t PackedSize(int64_t n, int64_t k) {
  return (n + kPackedColumns - 1) / kPackedColumns * kPackedColumns * k;
}

#if defined(__AVX512BF16__)
}  // namespace wardtune

#include <immintrin.h>

namespace wardtune {
namespace {

// Rows of one tile: with two vectors of columns 24 of the 32 registers are sums.
constexpr int kTileRows = 12;

inline int32_t Pair(const uint16_t* x) {
  int32_t pair;
  __builtin_memcpy(&pair, x, sizeof(pair));
  return pair;
}

inline void StoreColumns(uint16_t* y, __m512 sums, __mmask16 mask) {
  _mm256_mask_storeu_epi16(y, mask, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(sums)));
}

// kRows rows of x against one block of columns.
template <int kRows>
void MultiplyTile(const PackedProduct& p, const uint16_t* block, int64_t row, int64_t column) {
  __m512 sums[kRows][2];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = _mm512_setzero_ps();
  const uint16_t* x = p.x + row * p.k;
  for (int64_t i = 0; i < p.k; i += 2) {
    const auto w0 = reinterpret_cast<__m512bh>(_mm512_load_si512(block + i * kPackedColumns));
    const auto w1 = reinterpret_cast<__m512bh>(_mm512_load_si512(block + i * kPackedColumns + 32));
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const auto pair = reinterpret_cast<__m512bh>(_mm512_set1_epi32(Pair(x + r * p.k + i)));
      sums[r][0] = _mm512_dpbf16_ps(sums[r][0], w0, pair);
      sums[r][1] = _mm512_dpbf16_ps(sums[r][1], w1, pair);
    }
  }
  const int64_t left = p.n - column;
  const auto mask = static_cast<uint32_t>(left >= 32 ? 0xffffffffu : (1u << left) - 1u);
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
    uint16_t* y = p.y + (row + r) * p.n + column;
    StoreColumns(y, sums[r][0], static_cast<__mmask16>(mask));
    StoreColumns(y + 16, sums[r][1], static_cast<__mmask16>(mask >> 16));
  }
}

using Tile = void (*)(const PackedProduct&, const uint16_t*, int64_t, int64_t);
constexpr Tile kTiles[kTileRows + 1] = {
    nullptr,          MultiplyTile<1>,  MultiplyTile<2>, MultiplyTile<3>, MultiplyTile<4>,
    MultiplyTile<5>,  MultiplyTile<6>,  MultiplyTile<7>, MultiplyTile<8>, MultiplyTile<9>,
    MultiplyTile<10>, MultiplyTile<11>, MultiplyTile<12>};

}  // namespace

bool HasPackedGemm() { return CpuHasAvx512Bf16(); }

void PackBlocks(const uint16_t* weight, int64_t n, int64_t k, uint16_t* packed, int64_t begin,
                int64_t end) {
  for (int64_t block = begin; block < end; ++block) {
    uint16_t* out = packed + block * kPackedColumns * k;
    for (int64_t c = 0; c < kPackedColumns; ++c) {
      const int64_t column = block * kPackedColumns + c;
      for (int64_t i = 0; i < k; i += 2) {
        const int32_t pair = column < n ? Pair(weight + column * k + i) : 0;
        __builtin_memcpy(out + i * kPackedColumns + c * 2, &pair, sizeof(pair));
      }
    }
  }
}

void MultiplyBlocks(const PackedProduct& product, int64_t begin, int64_t end) {
  // Tiles of nearly equal height: a last tile of one row would waste most of its loads.
  const int64_t tiles = (product.rows + kTileRows - 1) / kTileRows;
  for (int64_t block = begin; block < end; ++block) {
    const uint16_t* weights = product.packed + block * kPackedColumns * product.k;
    int64_t row = 0;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t rows = (product.rows - row) / (tiles - tile);
      kTiles[rows](product, weights, row, block * kPackedColumns);
      row += rows;
    }
  }
}

#else

bool HasPackedGemm() { return false; }
void PackBlocks(const uint16_t*, int64_t, int64_t, uint16_t*, int64_t, int64_t) {}
void MultiplyBlocks(const PackedProduct&, int64_t, int64_t) {}

#endif

}  // namespace wardtune
