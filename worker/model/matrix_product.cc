#include "worker/model/matrix_product.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "worker/model/bf16_gemm.h"
#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

// Null where LibTorch multiplies.
const Bf16Gemm* GemmFor(const at::Tensor& x) {
  return x.is_cpu() && x.scalar_type() == at::kBFloat16 && x.size(0) > 0 ? BestBf16Gemm() : nullptr;
}

GemmOperand Operand(const at::Tensor& matrix, bool k_first) {
  return {static_cast<const uint16_t*>(matrix.const_data_ptr()), matrix.stride(0), k_first};
}

void SetResult(GemmProduct& product, const at::Tensor& c) {
  product.stride = c.stride(0);
  if (c.scalar_type() == at::kFloat) {
    product.fp32 = c.data_ptr<float>();
  } else {
    product.bf16 = static_cast<uint16_t*>(c.data_ptr());
  }
}

// Threads take equal shares of `count` rows or columns, in blocks of kGemmColumns.
template <typename Part>
void InParts(int64_t count, const Part& part) {
  const int64_t blocks = GemmBlocks(count);
  const int64_t threads = at::in_parallel_region() ? 1 : at::get_num_threads();
  at::parallel_for(0, blocks, (blocks + threads - 1) / threads, [&](int64_t first, int64_t last) {
    part(first * kGemmColumns, std::min(count, last * kGemmColumns));
  });
}

void MultiplyColumns(const Bf16Gemm& gemm, const GemmProduct& product, int64_t begin, int64_t end) {
  const at::Tensor scratch =
      at::empty({static_cast<int64_t>(gemm.scratch(product, begin, end))}, at::kByte);
  gemm.multiply(product, begin, end, scratch.data_ptr());
}

void Run(const Bf16Gemm& gemm, const GemmProduct& product) {
  InParts(product.columns,
          [&](int64_t begin, int64_t end) { MultiplyColumns(gemm, product, begin, end); });
}

// c^T = w x^T: the weights are the left factor and read where they lie. REQUIRES: c is bf16.
void RunWithWeightsInPlace(const Bf16Gemm& gemm, const GemmProduct& product) {
  InParts(product.columns, [&](int64_t begin, int64_t end) {
    GemmProduct part = product;
    part.rows = end - begin;
    part.columns = product.rows;
    part.left = product.right;
    part.left.data += begin * part.left.stride;
    part.right = product.left;
    part.bf16 += begin;
    part.c_transposed = part.left_in_place = true;
    MultiplyColumns(gemm, part, 0, part.columns);
  });
}

// Laying out x must not cost more than laying out weights, which is about twice as slow, would.
bool WeightsStayInPlace(const Bf16Gemm& gemm, const GemmProduct& product) {
  const auto rows = static_cast<double>(product.rows);
  return !product.right.k_first && product.bf16 != nullptr && 2 * product.columns > product.rows &&
         rows <= gemm.in_place_rows * static_cast<double>(product.k);
}

at::Tensor RowsContiguous(const at::Tensor& x) { return x.stride(1) == 1 ? x : x.contiguous(); }

// c (+)= x w, with w stored [k, columns] or [columns, k].
void Multiply(const Bf16Gemm& gemm, const at::Tensor& x, const at::Tensor& w, bool k_first,
              bool accumulate, const at::Tensor& c) {
  const at::Tensor left = RowsContiguous(x);
  const at::Tensor right = RowsContiguous(w);
  GemmProduct product = {.rows = x.size(0),
                         .columns = c.size(1),
                         .k = x.size(1),
                         .left = Operand(left, /*k_first=*/false),
                         .right = Operand(right, k_first),
                         .accumulate = accumulate};
  SetResult(product, c);
  WeightsStayInPlace(gemm, product) ? RunWithWeightsInPlace(gemm, product) : Run(gemm, product);
}

at::Tensor Product(const at::Tensor& x, const at::Tensor& w, bool k_first) {
  const Bf16Gemm* const gemm = GemmFor(x);
  if (gemm == nullptr) return at::mm(x, k_first ? w : w.t());
  at::Tensor y = at::empty({x.size(0), w.size(k_first ? 1 : 0)}, x.options());
  Multiply(*gemm, x, w, k_first, /*accumulate=*/false, y);
  return y;
}

void AddProduct(at::Tensor& y, const at::Tensor& x, const at::Tensor& w, bool k_first) {
  if (const Bf16Gemm* const gemm = GemmFor(x)) {
    Multiply(*gemm, x, w, k_first, /*accumulate=*/true, y);
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
  const Bf16Gemm* const gemm = GemmFor(x);
  if (gemm == nullptr) {
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
  Run(*gemm, {.rows = left.size(1),
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
