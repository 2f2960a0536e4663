// GoogleMock matchers for absl::Status and absl::StatusOr, for tests only.
//
// There is no EXPECT_NOT_OK on purpose: a test names the exact code it expects.
// The same semantics as absl/status/status_matchers.h of newer Abseil releases.
#ifndef WARDTUNE_BASE_STATUS_MATCHERS_H_
#define WARDTUNE_BASE_STATUS_MATCHERS_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace wardtune::testing {

inline const absl::Status& GetStatus(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& GetStatus(const absl::StatusOr<T>& value) {
  return value.status();
}

// Matches a Status or StatusOr that is OK.
MATCHER(IsOk, "is OK") {
  *result_listener << GetStatus(arg).ToString();
  return GetStatus(arg).ok();
}

// Matches a Status or StatusOr of exactly this code.
MATCHER_P(StatusIs, code, "has status code " + absl::StatusCodeToString(code)) {
  *result_listener << GetStatus(arg).ToString();
  return GetStatus(arg).code() == code;
}

// Matches code and message, for example StatusIs(absl::StatusCode::kNotFound, HasSubstr("job")).
MATCHER_P2(StatusIs, code, message_matcher,
           "has status code " + absl::StatusCodeToString(code) + " and a matching message") {
  *result_listener << GetStatus(arg).ToString();
  return GetStatus(arg).code() == code &&
         ::testing::Matches(message_matcher)(std::string(GetStatus(arg).message()));
}

}  // namespace wardtune::testing

#define WT_EXPECT_OK(expr) EXPECT_THAT((expr), ::wardtune::testing::IsOk())
#define WT_ASSERT_OK(expr) ASSERT_THAT((expr), ::wardtune::testing::IsOk())

#define WT_MATCHERS_CONCAT_INNER_(a, b) a##b
#define WT_MATCHERS_CONCAT_(a, b) WT_MATCHERS_CONCAT_INNER_(a, b)
// `WT_ASSERT_OK_AND_ASSIGN(auto x, F());` fails the test when F() is not OK.
#define WT_ASSERT_OK_AND_ASSIGN(lhs, expr) \
  WT_ASSERT_OK_AND_ASSIGN_IMPL_(WT_MATCHERS_CONCAT_(wt_test_value_, __LINE__), lhs, expr)
#define WT_ASSERT_OK_AND_ASSIGN_IMPL_(temporary, lhs, expr) \
  auto temporary = (expr);                                  \
  ASSERT_THAT(temporary, ::wardtune::testing::IsOk());      \
  lhs = std::move(temporary).value()

#endif  // WARDTUNE_BASE_STATUS_MATCHERS_H_
