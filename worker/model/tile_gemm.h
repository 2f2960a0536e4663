// Matrix products in bf16 on the CPU's tile unit (AMX), for frozen weights as they lie in memory.
//
// A general GEMM library lays out every operand anew, decides by shape and compiles a kernel for
// each; here the operand that is swept again and again is laid out once per panel that fits the
// second-level cache, and products accumulate in fp32 over all of k. Whether an operand comes
// as it is or transposed is a matter of that layout, so no product needs a transposed copy.
// Nothing is allocated: the caller hands in scratch.
// Thread safety: pure functions; calls for different panels write different memory.
#ifndef WARDTUNE_WORKER_MODEL_TILE_GEMM_H_
#define WARDTUNE_WORKER_MODEL_TILE_GEMM_H_

#include <cstddef>
#include <cstdint>

namespace wardtune {

// Columns that are laid out together; the smallest part of a product.
inline constexpr int64_t kTileColumns = 32;

// True where the functions below may be called. The first call asks the kernel for the tile unit.
bool HasTileGemm();

// A matrix of bf16 numbers, given by their bits. The product's own indices are (row, k) for the
// left factor and (k, column) for the right one.
struct TileOperand {
  const uint16_t* data = nullptr;
  int64_t stride = 0;    // numbers from one stored row to the next
  bool k_first = false;  // stored rows are k's: [k, rows] or [k, columns]; otherwise k runs along
};

// c = left right, or c += left right; c is bf16 or fp32.
struct TileProduct {
  int64_t rows = 0, columns = 0, k = 0;
  TileOperand left, right;
  uint16_t* bf16 = nullptr;  // one of both
  float* fp32 = nullptr;
  int64_t stride = 0;         // numbers from one row of c to the next
  bool c_transposed = false;  // c is stored [columns, rows]
  bool accumulate = false;
  // The left factor is not in the caches: it is read from where it lies, ahead of its use, instead
  // of being laid out. For few columns and many rows.
  bool left_in_place = false;
};

// Bytes of scratch, aligned to 64, for columns [begin, end).
size_t TileScratch(const TileProduct& product, int64_t begin, int64_t end);

// Columns [begin, end) of c. REQUIRES: begin is a multiple of kTileColumns.
void MultiplyTiles(const TileProduct& product, int64_t begin, int64_t end, void* scratch);

// Most rows that MultiplyPackedTiles takes, so that its scratch stays in the caches.
inline constexpr int64_t kMaxPackedTileRows = 512;

// As MultiplyBlocks of packed_gemm.h, whose packed form it reads. REQUIRES: k is a multiple of 32,
// at most kMaxPackedTileRows rows.
struct PackedProduct;
size_t PackedTileScratch(const PackedProduct& product);
// Fills a thread's scratch for any blocks of this product. REQUIRED before MultiplyPackedTiles,
// which also keeps its sums there.
void LayOutPackedRows(const PackedProduct& product, void* scratch);
void MultiplyPackedTiles(const PackedProduct& product, int64_t begin, int64_t end, void* scratch);

}  // namespace wardtune

#endif  // WARDTUNE_WORKER_MODEL_TILE_GEMM_H_
