#include "worker/model/matrix_product.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "worker/model/tile_gemm.h"
#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

bool UseTiles(const at::Tensor& x) {
  return x.is_cpu() && x.scalar_type() == at::kBFloat16 && x.size(0) > 0 && HasTileGemm();
}

TileOperand Operand(const at::Tensor& matrix, bool k_first) {
  return {static_cast<const uint16_t*>(matrix.const_data_ptr()), matrix.stride(0), k_first};
}

void SetResult(TileProduct& product, const at::Tensor& c) {
  product.stride = c.stride(0);
  if (c.scalar_type() == at::kFloat) {
    product.fp32 = c.data_ptr<float>();
  } else {
    product.bf16 = static_cast<uint16_t*>(c.data_ptr());
  }
}

// Threads take equal shares of `count` rows or columns, in blocks of kTileColumns.
template <typename Part>
void InParts(int64_t count, const Part& part) {
  const int64_t blocks = (count + kTileColumns - 1) / kTileColumns;
  const int64_t threads = at::in_parallel_region() ? 1 : at::get_num_threads();
  at::parallel_for(0, blocks, (blocks + threads - 1) / threads, [&](int64_t first, int64_t last) {
    part(first * kTileColumns, std::min(count, last * kTileColumns));
  });
}

void MultiplyColumns(const TileProduct& product, int64_t begin, int64_t end) {
  const at::Tensor scratch =
      at::empty({static_cast<int64_t>(TileScratch(product, begin, end))}, at::kByte);
  MultiplyTiles(product, begin, end, scratch.data_ptr());
}

void Run(const TileProduct& product) {
  InParts(product.columns,
          [&](int64_t begin, int64_t end) { MultiplyColumns(product, begin, end); });
}

// c^T = w x^T: the weights are the left factor and read where they lie. REQUIRES: c is bf16.
void RunWithWeightsInPlace(const TileProduct& product) {
  InParts(product.columns, [&](int64_t begin, int64_t end) {
    TileProduct part = product;
    part.rows = end - begin;
    part.columns = product.rows;
    part.left = product.right;
    part.left.data += begin * part.left.stride;
    part.right = product.left;
    part.bf16 += begin;
    part.c_transposed = part.left_in_place = true;
    MultiplyColumns(part, 0, part.columns);
  });
}

// Laying out x and turning c around costs rows * (k + columns), laying out w columns * k; measured,
// the two are even at half as many rows as k.
bool WeightsStayInPlace(const TileProduct& product) {
  return !product.right.k_first && product.bf16 != nullptr && 2 * product.rows <= product.k &&
         product.columns > product.rows;
}

at::Tensor RowsContiguous(const at::Tensor& x) { return x.stride(1) == 1 ? x : x.contiguous(); }

// c (+)= x w, with w stored [k, columns] or [columns, k].
void Multiply(const at::Tensor& x, const at::Tensor& w, bool k_first, bool accumulate,
              const at::Tensor& c) {
  const at::Tensor left = RowsContiguous(x);
  const at::Tensor right = RowsContiguous(w);
  TileProduct product = {.rows = x.size(0),
                         .columns = c.size(1),
                         .k = x.size(1),
                         .left = Operand(left, /*k_first=*/false),
                         .right = Operand(right, k_first),
                         .accumulate = accumulate};
  SetResult(product, c);
  WeightsStayInPlace(product) ? RunWithWeightsInPlace(product) : Run(product);
}

at::Tensor Product(const at::Tensor& x, const at::Tensor& w, bool k_first) {
  if (!UseTiles(x)) return at::mm(x, k_first ? w : w.t());
  at::Tensor y = at::empty({x.size(0), w.size(k_first ? 1 : 0)}, x.options());
  Multiply(x, w, k_first, /*accumulate=*/false, y);
  return y;
}

void AddProduct(at::Tensor& y, const at::Tensor& x, const at::Tensor& w, bool k_first) {
  if (UseTiles(x)) {
    Multiply(x, w, k_first, /*accumulate=*/true, y);
  } else {
    y.addmm_(x, k_first ? w : w.t());
  }
}

}  // namespace

at::Tensor TimesTransposed(const at::Tensor& x, const at::Tensor& w) {
  return Product(x, w, /*k_first=*/false);
}
void AddTimesTransposed(at::Tensor& y, const at::Tensor& x, const at::Tensor& w) {
  AddProduct(y, x, w, /*k_first=*/false);
}

at::Tensor Times(const at::Tensor& x, const at::Tensor& w) {
  return Product(x, w, /*k_first=*/true);
}
void AddTimes(at::Tensor& y, const at::Tensor& x, const at::Tensor& w) {
  AddProduct(y, x, w, /*k_first=*/true);
}

void AddTransposedTimes(at::Tensor& sum, const at::Tensor& x, const at::Tensor& y) {
  if (!UseTiles(x)) {
    if (x.scalar_type() == sum.scalar_type()) {
      sum.addmm_(x.t(), y);
    } else {
      sum.add_(at::mm(x.t(), y));  // each product is rounded to bf16, their sum is not
    }
    return;
  }
  // The wider factor becomes the right one, which is the cheaper to lay out.
  const bool swap = x.size(1) > y.size(1);
  const at::Tensor left = RowsContiguous(swap ? y : x);
  const at::Tensor right = RowsContiguous(swap ? x : y);
  Run({.rows = left.size(1),
       .columns = right.size(1),
       .k = x.size(0),
       .left = Operand(left, /*k_first=*/true),
       .right = Operand(right, /*k_first=*/true),
       .fp32 = sum.data_ptr<float>(),
       .stride = sum.stride(0),
       .c_transposed = swap,
       .accumulate = true});
}

}  // namespace wardtune
