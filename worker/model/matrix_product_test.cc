// Products in bf16 against plain fp32 arithmetic, whichever kernel this CPU gets.
#include "worker/model/matrix_product.h"

#include <gtest/gtest.h>

#include "worker/model/bf16_gemm.h"
#include "worker/model/lanes.h"
#include "worker/model/torch_ops.h"

namespace wardtune {
namespace {

struct Shape {
  int64_t n, m, k;
};
// On both sides of a tile and of a stretch of k, fewer columns than a block, ranks of LoRA.
constexpr Shape kShapes[] = {{1, 1, 1},      {5, 45, 62},      {16, 32, 32},    {17, 33, 576},
                             {31, 16, 64},   {33, 48, 1536},   {64, 1000, 96},  {100, 576, 16},
                             {40, 70, 1600}, {90, 1010, 1602}, {200, 96, 3100}, {513, 640, 130}};

at::Tensor Random(int64_t rows, int64_t columns) {
  return at::randn({rows, columns}).to(at::kBFloat16);
}

at::Tensor Full(const at::Tensor& x) { return x.to(at::kFloat); }

void ExpectNear(const at::Tensor& found, const at::Tensor& expected, const Shape& shape) {
  const at::Tensor difference = (Full(found) - expected).abs();
  // One rounding to bf16, on each side of it the sum's own.
  const at::Tensor allowed = expected.abs() * 8e-3 + 8e-3 * expected.abs().mean();
  EXPECT_TRUE((difference <= allowed).all().item<bool>())
      << shape.n << " x " << shape.m << " x " << shape.k << ": off by "
      << difference.max().item<float>();
}

class MatrixProductTest : public ::testing::Test {
 protected:
  MatrixProductTest() { at::manual_seed(1); }
};

// y is a fresh product; `add` adds the same product to it.
template <typename F>
void ExpectProductAndSum(at::Tensor y, const at::Tensor& expected, const Shape& shape, F add) {
  ExpectNear(y, expected, shape);
  const at::Tensor before = Full(y).clone();
  add(y);
  ExpectNear(y, before + expected, shape);
}

TEST_F(MatrixProductTest, TimesTransposed) {
  for (const Shape& s : kShapes) {
    const at::Tensor x = Random(s.n, s.k);
    const at::Tensor w = Random(s.m, s.k);
    ExpectProductAndSum(TimesTransposed(x, w), at::mm(Full(x), Full(w).t()), s,
                        [&](at::Tensor& y) { AddTimesTransposed(y, x, w); });
  }
}

TEST_F(MatrixProductTest, Times) {
  for (const Shape& s : kShapes) {
    const at::Tensor x = Random(s.n, s.k);
    const at::Tensor w = Random(s.k, s.m);
    ExpectProductAndSum(Times(x, w), at::mm(Full(x), Full(w)), s,
                        [&](at::Tensor& y) { AddTimes(y, x, w); });
  }
}

TEST_F(MatrixProductTest, AGradientIsAddedUpInFullPrecision) {
  for (const Shape& s : kShapes) {
    const at::Tensor x = Random(s.k, s.n);
    const at::Tensor y = Random(s.k, s.m);
    at::Tensor sum = at::ones({s.n, s.m});
    AddTransposedTimes(sum, x, y);
    const at::Tensor expected = at::mm(Full(x).t(), Full(y)) + 1.0;
    ExpectNear(sum, expected, s);
    const float allowed =
        BestBf16Gemm() != nullptr ? 1e-3f : 1.0f;  // LibTorch's products are rounded
    EXPECT_LT((sum - expected).abs().max().item<float>(), allowed);
  }
}

TEST_F(MatrixProductTest, PartsOfLargerMatricesLeaveTheRestAlone) {
  const at::Tensor x = Random(60, 200).narrow(0, 7, 21).narrow(1, 16, 90);
  const at::Tensor w = Random(100, 90).narrow(0, 3, 37);
  at::Tensor whole = at::ones({60, 80}, at::kBFloat16);
  at::Tensor part = whole.narrow(0, 20, 21).narrow(1, 8, 37);
  AddTimesTransposed(part, x, w);
  ExpectNear(part, at::mm(Full(x), Full(w).t()) + 1.0, {21, 37, 90});
  part.fill_(1.0);
  EXPECT_TRUE(whole.eq(1.0).all().item<bool>());
}

TEST_F(MatrixProductTest, TheSameBitsInALaneAndOnAllThreads) {
  const at::Tensor x = Random(130, 1700);
  const at::Tensor w = Random(300, 1700);
  const at::Tensor shared = TimesTransposed(x, w);
  std::vector<at::Tensor> lanes(2);
  RunLanes(2, [&](size_t lane) { lanes[lane] = TimesTransposed(x, w); });
  if (BestBf16Gemm() == nullptr) GTEST_SKIP() << "LibTorch does not promise it";
  EXPECT_TRUE(shared.equal(lanes[0]));
  EXPECT_TRUE(shared.equal(lanes[1]));
}

}  // namespace
}  // namespace wardtune
