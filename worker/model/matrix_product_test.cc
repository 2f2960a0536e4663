// Products in bf16 against plain fp32 arithmetic, whichever kernel this CPU gets.
#include "worker/model/matrix_product.h"

#include <gtest/gtest.h>

#include <cmath>
#include <tuple>
#include <utility>
#include <vector>

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

TEST_F(MatrixProductTest, TimesTransposed) {
  for (const Shape& s : kShapes) {
    const at::Tensor x = Random(s.n, s.k);
    const at::Tensor w = Random(s.m, s.k);
    at::Tensor y = TimesTransposed(x, w);
    const at::Tensor expected = at::mm(Full(x), Full(w).t());
    ExpectNear(y, expected, s);
    const at::Tensor before = Full(y).clone();
    const LowRankTerm part = {0, 0, x, w};
    AddTimesTransposed(y, {&part, 1});
    ExpectNear(y, before + expected, s);
  }
}

TEST_F(MatrixProductTest, Times) {
  for (const Shape& s : kShapes) {
    const at::Tensor x = Random(s.n, s.k);
    const at::Tensor w = Random(s.k, s.m);
    const at::Tensor expected = at::mm(Full(x), Full(w));
    ExpectNear(Times(x, w), expected, s);
    at::Tensor whole = at::ones({s.n, s.m + 5}, at::kBFloat16);
    at::Tensor y = whole.narrow(1, 3, s.m);
    TimesInto(y, x, w);
    ExpectNear(y, expected, s);
    y.fill_(1.0);
    EXPECT_TRUE(whole.eq(1.0).all().item<bool>());
  }
}

// Two jobs' rows and two projections' columns, which end inside of blocks; ranks odd and even.
std::vector<LowRankTerm> Terms(bool transposed) {
  std::vector<LowRankTerm> terms;
  for (const auto& [row, rows] : {std::pair{0, 71}, {90, 60}}) {
    for (const auto& [column, columns, rank] : {std::tuple{0, 45, 16}, {45, 70, 7}, {45, 70, 16}}) {
      terms.push_back({row, column, Random(rows, rank),
                       transposed ? Random(columns, rank) : Random(rank, columns)});
    }
  }
  return terms;
}

TEST_F(MatrixProductTest, PartsOfLowRankGoToTheirPlace) {
  const at::Tensor x = Random(150, 1700);
  const at::Tensor w = Random(130, 1700);
  for (const bool transposed : {true, false}) {
    const std::vector<LowRankTerm> terms = Terms(transposed);
    at::Tensor expected = at::mm(Full(x), Full(w).t());
    for (const LowRankTerm& part : terms) {
      const at::Tensor right = transposed ? part.right.t() : part.right;
      expected.narrow(0, part.row, part.left.size(0))
          .narrow(1, part.column, right.size(1))
          .addmm_(Full(part.left), Full(right));
    }
    const at::Tensor y =
        transposed ? TimesTransposed(x, w, terms) : Times(x, w.t().contiguous(), terms);
    ExpectNear(y, expected, {150, 130, 1700});
    if (!transposed) continue;
    at::Tensor later = TimesTransposed(x, w);
    AddTimesTransposed(later, terms);
    // Each term is rounded by itself.
    EXPECT_LT((Full(later) - expected).abs().max().item<float>(),
              0.02 * expected.abs().max().item<float>());
  }
}

// What a job's broken adapter gives must not reach another job's rows.
TEST_F(MatrixProductTest, APartThatIsNotANumberStaysInItsPlace) {
  const at::Tensor x = Random(150, 170);
  const at::Tensor w = Random(130, 170);
  for (const bool transposed : {true, false}) {
    const at::Tensor plain = transposed ? TimesTransposed(x, w) : Times(x, w.t().contiguous());
    for (const bool left : {true, false}) {
      std::vector<LowRankTerm> terms = {Terms(transposed)[4]};  // in the middle on all sides
      (left ? terms[0].left : terms[0].right).fill_(std::nan(""));
      at::Tensor y =
          transposed ? TimesTransposed(x, w, terms) : Times(x, w.t().contiguous(), terms);
      at::Tensor place = y.narrow(0, 90, 60).narrow(1, 45, 70);
      EXPECT_TRUE(place.isnan().all().item<bool>());
      place.copy_(plain.narrow(0, 90, 60).narrow(1, 45, 70));
      EXPECT_TRUE(y.equal(plain)) << "transposed " << transposed << ", left " << left;
    }
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

    at::Tensor whole = at::ones({s.n + 5, s.m + 9});
    at::Tensor part = whole.narrow(0, 2, s.n).narrow(1, 3, s.m);
    AddTransposedTimes(part, x, y);
    EXPECT_LT((part - expected).abs().max().item<float>(), allowed);
    part.fill_(1.0);
    EXPECT_TRUE(whole.eq(1.0).all().item<bool>());
  }
}

TEST_F(MatrixProductTest, PartsOfLargerMatricesLeaveTheRestAlone) {
  const at::Tensor x = Random(60, 200).narrow(0, 7, 21).narrow(1, 16, 90);
  const at::Tensor w = Random(100, 90).narrow(0, 3, 37);
  at::Tensor whole = at::ones({60, 80}, at::kBFloat16);
  at::Tensor part = whole.narrow(0, 20, 21).narrow(1, 8, 37);
  const LowRankTerm all = {0, 0, x, w};
  AddTimesTransposed(part, {&all, 1});
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
