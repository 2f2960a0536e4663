// Both ways of multiplying against plain arithmetic, with a scratch full of not-a-numbers.
#include "worker/model/bf16_gemm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace wardtune {
namespace {

struct Engine {
  std::string name;
  const Bf16Gemm* (*gemm)();
};

float Number(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

// Numbers of few bits, so that sums are exact and differ from a wrong one.
uint16_t RandomBits(std::mt19937& random) {
  const auto value = static_cast<float>(static_cast<int>(random() % 17) - 8) / 8.0f;
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
}

// Memory that is not-a-number until something is written to it, with a fence behind it.
class Scratch {
 public:
  explicit Scratch(size_t bytes)
      : bytes_(bytes),
        memory_(static_cast<std::byte*>(::operator new(bytes + kFence, kLine)),
                [](std::byte* memory) { ::operator delete(memory, kLine); }) {
    std::memset(memory_.get(), 0xff, bytes + kFence);
  }
  ~Scratch() {
    const std::byte* const fence = memory_.get() + bytes_;
    EXPECT_TRUE(
        std::all_of(fence, fence + kFence, [](std::byte b) { return b == std::byte{0xff}; }))
        << "written behind a scratch of " << bytes_;
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  void* data() const { return memory_.get(); }

 private:
  static constexpr std::align_val_t kLine{64};
  static constexpr size_t kFence = 256;
  const size_t bytes_;
  std::unique_ptr<std::byte, void (*)(std::byte*)> memory_;
};

// A matrix [rows, columns], stored so or transposed, between numbers that must not be read.
class Matrix {
 public:
  Matrix(int64_t rows, int64_t columns, bool transposed, std::mt19937& random)
      : transposed_(transposed),
        rows_(rows),
        columns_(columns),
        stride_((transposed ? rows : columns) + 17),
        bits_(static_cast<size_t>(stride_ * (transposed ? columns : rows)), kNan) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < columns; ++c) bits_[Index(r, c)] = RandomBits(random);
    }
  }
  float at(int64_t row, int64_t column) const { return Number(bits_[Index(row, column)]); }
  // Whether nothing was written beside the matrix.
  bool KeptItsBounds() const {
    Matrix numbers = *this;
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t c = 0; c < columns_; ++c) numbers.bits_[Index(r, c)] = kNan;
    }
    return numbers.bits_ == std::vector<uint16_t>(bits_.size(), kNan);
  }
  GemmOperand operand(bool k_first) const { return {bits_.data(), stride_, k_first}; }
  void FillWithNan() { std::fill(bits_.begin(), bits_.end(), kNan); }
  uint16_t* data() { return bits_.data(); }
  int64_t stride() const { return stride_; }

 private:
  static constexpr uint16_t kNan = 0x7fff;
  size_t Index(int64_t row, int64_t column) const {
    return static_cast<size_t>(transposed_ ? column * stride_ + row : row * stride_ + column);
  }
  bool transposed_;
  int64_t rows_, columns_;
  int64_t stride_;
  std::vector<uint16_t> bits_;
};

struct Case {
  int64_t rows, columns, k;
  bool left_k_first, right_k_first, c_transposed, accumulate, left_in_place;
};

std::string Name(const Case& c) {
  return std::to_string(c.rows) + " x " + std::to_string(c.columns) + " x " + std::to_string(c.k) +
         (c.left_k_first ? ", left k first" : "") + (c.right_k_first ? ", right k first" : "") +
         (c.c_transposed ? ", c transposed" : "") + (c.accumulate ? ", accumulate" : "") +
         (c.left_in_place ? ", left in place" : "");
}

class Bf16GemmTest : public ::testing::TestWithParam<Engine> {
 protected:
  void SetUp() override {
    gemm_ = GetParam().gemm();
    if (gemm_ == nullptr) GTEST_SKIP() << "this CPU has none";
  }

  // `more` says what the terms add to an entry of c.
  void ExpectProduct(
      const Case& c, const std::vector<GemmTerm>& terms = {},
      const std::function<double(int64_t, int64_t)>& more = [](int64_t, int64_t) { return 0.0; }) {
    const Matrix left(c.rows, c.k, c.left_k_first, random_);
    const Matrix right(c.k, c.columns, !c.right_k_first, random_);
    Matrix sum(c.rows, c.columns, c.c_transposed, random_);
    const Matrix before = sum;
    GemmProduct product = {.rows = c.rows,
                           .columns = c.columns,
                           .k = c.k,
                           .left = left.operand(c.left_k_first),
                           .right = right.operand(c.right_k_first),
                           .bf16 = sum.data(),
                           .stride = sum.stride(),
                           .c_transposed = c.c_transposed,
                           .accumulate = c.accumulate,
                           .left_in_place = c.left_in_place,
                           .terms = terms.data(),
                           .term_count = static_cast<int64_t>(terms.size())};
    // Two parts, as two threads take them.
    const int64_t half = c.columns / 2 / kGemmColumns * kGemmColumns;
    for (const auto& [begin, end] : {std::pair{int64_t{0}, half}, std::pair{half, c.columns}}) {
      if (begin == end) continue;
      const Scratch scratch(gemm_->scratch(product, begin, end));
      gemm_->multiply(product, begin, end, scratch.data());
    }
    EXPECT_TRUE(sum.KeptItsBounds()) << Name(c);
    for (int64_t r = 0; r < c.rows; ++r) {
      for (int64_t j = 0; j < c.columns; ++j) {
        double expected = (c.accumulate ? before.at(r, j) : 0.0) + more(r, j);
        for (int64_t i = 0; i < c.k; ++i) expected += double{left.at(r, i)} * right.at(i, j);
        ASSERT_NEAR(sum.at(r, j), expected, std::abs(expected) / 128)
            << Name(c) << " at " << r << ", " << j;
      }
    }
  }

  // The product with terms on all of c, on rectangles inside of it and on none of its rows, one of
  // them deeper than what is laid out at a time.
  void ExpectTerms(const Case& c) {
    const std::vector<GemmTerm> places = {
        {0, c.rows, 0, c.columns, 16, {}, {}}, {13, 20, 5, 30, 7, {}, {}},
        {16, 16, 0, 32, 33, {}, {}},           {0, c.rows, c.columns - 9, 9, 1, {}, {}},
        {7, 0, 0, c.columns, 4, {}, {}},       {5, 9, 20, 12, 1700, {}, {}}};
    std::vector<Matrix> lefts, rights;
    std::vector<GemmTerm> terms;
    for (const GemmTerm& place : places) {
      lefts.emplace_back(place.rows, place.k, c.left_k_first, random_);
      rights.emplace_back(place.k, place.columns, !c.right_k_first, random_);
    }
    for (size_t i = 0; i < places.size(); ++i) {
      terms.push_back(places[i]);
      terms[i].left = lefts[i].operand(c.left_k_first);
      terms[i].right = rights[i].operand(c.right_k_first);
    }
    ExpectProduct(c, terms, [&](int64_t row, int64_t column) {
      double sum = 0.0;
      for (size_t i = 0; i < terms.size(); ++i) {
        const int64_t r = row - terms[i].row;
        const int64_t j = column - terms[i].column;
        if (r < 0 || r >= terms[i].rows || j < 0 || j >= terms[i].columns) continue;
        for (int64_t d = 0; d < terms[i].k; ++d)
          sum += double{lefts[i].at(r, d)} * rights[i].at(d, j);
      }
      return sum;
    });
  }

  const Bf16Gemm* gemm_ = nullptr;
  std::mt19937 random_{1};
};

// Both sides of a tile of rows, a block of rows, a block of columns and a step of k.
TEST_P(Bf16GemmTest, EveryLayoutOfEveryFactor) {
  for (const auto& [rows, columns, k] : {std::tuple{1, 1, 1},
                                         {5, 45, 62},
                                         {12, 32, 32},
                                         {16, 33, 64},
                                         {47, 31, 33},
                                         {49, 100, 96},
                                         {64, 64, 576},
                                         {100, 70, 17}}) {
    for (int bits = 0; bits < 32; ++bits) {
      ExpectProduct({rows, columns, k, (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0,
                     (bits & 8) != 0, (bits & 16) != 0});
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(Bf16GemmTest, SumsOverMoreThanOneStretchOfKAndMoreThanOnePanel) {
  ExpectProduct({50, 40, 3100, false, false, false, true, false});
  ExpectProduct({33, 300, 1600, false, true, false, false, false});
  ExpectProduct({20, 1100, 600, true, true, true, false, false});
  ExpectProduct({96, 40, 3072, false, false, true, true, true});
}

// Terms whose rectangles end on both sides of tiles and blocks, over one panel and over several.
TEST_P(Bf16GemmTest, TermsAreAddedToTheirRectangles) {
  for (const auto& [rows, columns, k] :
       {std::tuple{64, 96, 64}, {70, 130, 62}, {40, 1100, 600}, {50, 40, 3100}}) {
    for (int bits = 0; bits < 32; ++bits) {
      ExpectTerms({rows, columns, k, (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0,
                   (bits & 8) != 0, (bits & 16) != 0});
      if (HasFatalFailure()) return;
    }
  }
}

// Two thirds of what a NaN is multiplied with lie outside of its rectangle's last block.
TEST_P(Bf16GemmTest, ATermThatIsNotANumberStaysInItsRectangle) {
  constexpr int64_t kRows = 70, kColumns = 100, kDepth = 62, kRank = 7;
  const GemmTerm place = {13, 40, 37, 41, kRank, {}, {}};
  for (int bits = 0; bits < 16; ++bits) {
    const bool left_first = (bits & 1) != 0, right_first = (bits & 2) != 0;
    const bool transposed = (bits & 4) != 0, left_is_nan = (bits & 8) != 0;
    const Matrix left(kRows, kDepth, left_first, random_);
    const Matrix right(kDepth, kColumns, !right_first, random_);
    Matrix term_left(place.rows, kRank, left_first, random_);
    Matrix term_right(kRank, place.columns, !right_first, random_);
    Matrix plain(kRows, kColumns, transposed, random_);
    Matrix with_term = plain;
    (left_is_nan ? term_left : term_right).FillWithNan();
    GemmTerm term = place;
    term.left = term_left.operand(left_first);
    term.right = term_right.operand(right_first);
    for (Matrix* const sum : {&plain, &with_term}) {
      GemmProduct product = {.rows = kRows,
                             .columns = kColumns,
                             .k = kDepth,
                             .left = left.operand(left_first),
                             .right = right.operand(right_first),
                             .bf16 = sum->data(),
                             .stride = sum->stride(),
                             .c_transposed = transposed};
      if (sum == &with_term) product.terms = &term;
      product.term_count = sum == &with_term ? 1 : 0;
      const Scratch scratch(gemm_->scratch(product, 0, kColumns));
      gemm_->multiply(product, 0, kColumns, scratch.data());
    }
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t c = 0; c < kColumns; ++c) {
        const bool inside = r >= place.row && r < place.row + place.rows && c >= place.column &&
                            c < place.column + place.columns;
        if (inside) {
          ASSERT_TRUE(std::isnan(with_term.at(r, c))) << r << ", " << c;
        } else {
          ASSERT_EQ(with_term.at(r, c), plain.at(r, c)) << bits << " at " << r << ", " << c;
        }
      }
    }
  }
}

TEST_P(Bf16GemmTest, SumsInFullPrecision) {
  const int64_t n = 20;
  const int64_t k = 700;
  const Matrix left(n, k, /*transposed=*/true, random_);
  const Matrix right(k, n, /*transposed=*/false, random_);
  std::vector<float> sum(n * n, 0.25f);
  const GemmProduct product = {.rows = n,
                               .columns = n,
                               .k = k,
                               .left = left.operand(/*k_first=*/true),
                               .right = right.operand(/*k_first=*/true),
                               .fp32 = sum.data(),
                               .stride = n,
                               .accumulate = true};
  const Scratch scratch(gemm_->scratch(product, 0, n));
  gemm_->multiply(product, 0, n, scratch.data());
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t c = 0; c < n; ++c) {
      float expected = 0.25f;
      for (int64_t i = 0; i < k; ++i) expected += left.at(r, i) * right.at(i, c);
      EXPECT_FLOAT_EQ(sum[r * n + c], expected);
    }
  }
}

TEST_P(Bf16GemmTest, WeightsLaidOutOnce) {
  for (const auto& [rows, n, k] :
       {std::tuple{1, 32, 64}, {13, 45, 62}, {64, 96, 33}, {130, 70, 2}}) {
    std::vector<uint16_t> x(static_cast<size_t>(rows * k)), w(static_cast<size_t>(n * k)),
        y(static_cast<size_t>(rows * n), 0x7fff);
    for (uint16_t& number : x) number = RandomBits(random_);
    for (uint16_t& number : w) number = RandomBits(random_);
    const Scratch packed(static_cast<size_t>(gemm_->packed_size(n, k)) * 2);
    const PackedProduct product = {.x = x.data(),
                                   .packed = static_cast<const uint16_t*>(packed.data()),
                                   .y = y.data(),
                                   .rows = rows,
                                   .n = n,
                                   .k = k};
    const int64_t blocks = (n + kGemmColumns - 1) / kGemmColumns;
    const Scratch scratch(gemm_->packed_scratch(product));
    gemm_->lay_out_rows(product, scratch.data());
    for (int64_t block = blocks - 1; block >= 0; --block) {
      gemm_->pack(w.data(), n, k, static_cast<uint16_t*>(packed.data()), block, block + 1);
      const int64_t next = block == 0 ? blocks : block - 1;
      gemm_->multiply_packed(product, block, block + 1, next, scratch.data());
    }
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < n; ++c) {
        double expected = 0.0;
        for (int64_t i = 0; i < k; ++i) {
          expected += double{Number(x[r * k + i])} * Number(w[c * k + i]);
        }
        ASSERT_NEAR(Number(y[r * n + c]), expected, std::abs(expected) / 128)
            << rows << " x " << n << " x " << k << " at " << r << ", " << c;
      }
    }
  }
}

std::string EngineName(const ::testing::TestParamInfo<Engine>& engine) { return engine.param.name; }
INSTANTIATE_TEST_SUITE_P(Engines, Bf16GemmTest,
                         ::testing::Values(Engine{"Tiles", TileGemm},
                                           Engine{"Vectors", VectorGemm}),
                         EngineName);

}  // namespace
}  // namespace wardtune
