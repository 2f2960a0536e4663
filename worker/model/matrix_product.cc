#include "worker/model/matrix_product.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <utility>
#include <vector>

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

// From the operand's row or column `first` on.
GemmOperand From(GemmOperand operand, int64_t first) {
  operand.data += operand.k_first ? first : first * operand.stride;
  return operand;
}

// The terms of columns [begin, end), for the product turned around.
std::vector<GemmTerm> TurnedAround(const GemmProduct& product, int64_t begin, int64_t end) {
  std::vector<GemmTerm> terms;
  for (const GemmTerm& term : std::span(product.terms, product.term_count)) {
    const int64_t first = std::max(begin, term.column);
    const int64_t last = std::min(end, term.column + term.columns);
    if (first >= last) continue;
    terms.push_back({.row = first - begin,
                     .rows = last - first,
                     .column = term.row,
                     .columns = term.rows,
                     .k = term.k,
                     .left = From(term.right, first - term.column),
                     .right = term.left});
  }
  return terms;
}

// c^T = w x^T: the weights are the left factor and read where they lie. REQUIRES: c is bf16.
void RunWithWeightsInPlace(const Bf16Gemm& gemm, const GemmProduct& product) {
  InParts(product.columns, [&](int64_t begin, int64_t end) {
    const std::vector<GemmTerm> terms = TurnedAround(product, begin, end);
    GemmProduct part = product;
    part.terms = terms.data();
    part.term_count = static_cast<int64_t>(terms.size());
    part.rows = end - begin;
    part.columns = product.rows;
    part.left = From(product.right, begin);
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

GemmTerm Term(const LowRankTerm& term, bool k_first) {
  return {.row = term.row,
          .rows = term.left.size(0),
          .column = term.column,
          .columns = term.right.size(k_first ? 1 : 0),
          .k = term.left.size(1),
          .left = Operand(term.left, /*k_first=*/false),
          .right = Operand(term.right, k_first)};
}

// c (+)= x w + terms, with w stored [k, columns] or [columns, k].
void Multiply(const Bf16Gemm& gemm, const at::Tensor& x, const at::Tensor& w, bool k_first,
              std::span<const LowRankTerm> terms, bool accumulate, const at::Tensor& c) {
  const at::Tensor left = RowsContiguous(x);
  const at::Tensor right = RowsContiguous(w);
  std::vector<GemmTerm> gemm_terms;
  for (const LowRankTerm& term : terms) gemm_terms.push_back(Term(term, k_first));
  GemmProduct product = {.rows = x.size(0),
                         .columns = c.size(1),
                         .k = x.size(1),
                         .left = Operand(left, /*k_first=*/false),
                         .right = Operand(right, k_first),
                         .accumulate = accumulate,
                         .terms = gemm_terms.data(),
                         .term_count = static_cast<int64_t>(gemm_terms.size())};
  SetResult(product, c);
  WeightsStayInPlace(gemm, product) ? RunWithWeightsInPlace(gemm, product) : Run(gemm, product);
}

// y's rectangle that a term is added to.
at::Tensor PlaceOf(const at::Tensor& y, const LowRankTerm& term, bool k_first) {
  return y.narrow(0, term.row, term.left.size(0))
      .narrow(1, term.column, term.right.size(k_first ? 1 : 0));
}

void AddTerms(at::Tensor& y, std::span<const LowRankTerm> terms, bool k_first) {
  for (const LowRankTerm& term : terms) {
    at::Tensor place = PlaceOf(y, term, k_first);
    if (const Bf16Gemm* const gemm = GemmFor(term.left)) {
      Multiply(*gemm, term.left, term.right, k_first, {}, /*accumulate=*/true, place);
    } else {
      place.addmm_(term.left, k_first ? term.right : term.right.t());
    }
  }
}

at::Tensor Product(const at::Tensor& x, const at::Tensor& w, bool k_first,
                   std::span<const LowRankTerm> terms, at::Tensor y = {}) {
  const int64_t columns = w.size(k_first ? 1 : 0);
  if (!y.defined()) y = at::empty({x.size(0), columns}, x.options());
  TORCH_CHECK(y.size(0) == x.size(0) && y.size(1) == columns, "the result has another shape");
  const Bf16Gemm* const gemm = GemmFor(x);
  if (gemm == nullptr) {
    at::mm_out(y, x, k_first ? w : w.t());
    AddTerms(y, terms, k_first);
    return y;
  }
  Multiply(*gemm, x, w, k_first, terms, /*accumulate=*/false, y);
  return y;
}

}  // namespace

bool HasOwnProducts(const at::Tensor& x) { return GemmFor(x) != nullptr; }

at::Tensor TimesTransposed(const at::Tensor& x, const at::Tensor& w,
                           std::span<const LowRankTerm> terms, at::Tensor y) {
  return Product(x, w, /*k_first=*/false, terms, std::move(y));
}
void AddTimesTransposed(at::Tensor& y, std::span<const LowRankTerm> terms) {
  AddTerms(y, terms, /*k_first=*/false);
}

at::Tensor Times(const at::Tensor& x, const at::Tensor& w, std::span<const LowRankTerm> terms) {
  return Product(x, w, /*k_first=*/true, terms);
}
void TimesInto(at::Tensor& y, const at::Tensor& x, const at::Tensor& w) {
  if (const Bf16Gemm* const gemm = GemmFor(x)) {
    Multiply(*gemm, x, w, /*k_first=*/true, {}, /*accumulate=*/false, y);
  } else {
    at::mm_out(y, x, w);
  }
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
