# wt_cc_library(NAME <n> SRCS ... HDRS ... DEPS ...)   -> target wt_<n>, alias wt::<n>
# wt_cc_binary (NAME <n> SRCS ... DEPS ...)            -> executable <n>
# wt_cc_test   (NAME <n> SRCS ... DEPS ... [LABELS ..] [TIMEOUT s]) -> executable and ctest <n>
#
# Every target compiles with the project's warnings as errors and sees the
# repository root as its one include folder.

add_library(wt_warnings INTERFACE)
target_compile_options(wt_warnings INTERFACE -Wall -Wextra -Werror -Wshadow=local
                                             -Wno-missing-field-initializers)
if(WARDTUNE_UNITY_BUILD)
  # A file that is included into a unit looks like a header to this warning.
  target_compile_options(wt_warnings INTERFACE -Wno-subobject-linkage)
endif()

function(_wt_configure target)
  target_include_directories(${target} PUBLIC "${CMAKE_SOURCE_DIR}")
  target_link_libraries(${target} PRIVATE wt_warnings)
endfunction()

function(wt_cc_library)
  cmake_parse_arguments(ARG "" "NAME" "SRCS;HDRS;DEPS" ${ARGN})
  set(target wt_${ARG_NAME})
  if(ARG_SRCS)
    add_library(${target} STATIC ${ARG_SRCS} ${ARG_HDRS})
    _wt_configure(${target})
    target_link_libraries(${target} PUBLIC ${ARG_DEPS})
  else()
    add_library(${target} INTERFACE)
    target_include_directories(${target} INTERFACE "${CMAKE_SOURCE_DIR}")
    target_link_libraries(${target} INTERFACE ${ARG_DEPS})
  endif()
  add_library(wt::${ARG_NAME} ALIAS ${target})
endfunction()

function(wt_cc_binary)
  cmake_parse_arguments(ARG "" "NAME" "SRCS;DEPS" ${ARGN})
  add_executable(${ARG_NAME} ${ARG_SRCS})
  _wt_configure(${ARG_NAME})
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_DEPS})
endfunction()

# GoogleTest's headers cost more to parse than most tests; they are compiled once.
file(GENERATE OUTPUT "${CMAKE_BINARY_DIR}/test_headers.cc" CONTENT "")
add_library(wt_test_headers OBJECT EXCLUDE_FROM_ALL "${CMAKE_BINARY_DIR}/test_headers.cc")
_wt_configure(wt_test_headers)
target_link_libraries(wt_test_headers PRIVATE GTest::gmock GTest::gtest_main absl::statusor)
target_precompile_headers(wt_test_headers PRIVATE "${CMAKE_SOURCE_DIR}/base/status_matchers.h")

function(wt_cc_test)
  cmake_parse_arguments(ARG "" "NAME;TIMEOUT" "SRCS;DEPS;LABELS" ${ARGN})
  add_executable(${ARG_NAME} ${ARG_SRCS})
  _wt_configure(${ARG_NAME})
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  target_precompile_headers(${ARG_NAME} REUSE_FROM wt_test_headers)
  add_test(NAME ${ARG_NAME} COMMAND ${ARG_NAME} WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}")
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  set_tests_properties(${ARG_NAME} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT}
    ENVIRONMENT "WARDTUNE_CACHE_DIR=${WARDTUNE_CACHE_DIR};WARDTUNE_SOURCE_DIR=${CMAKE_SOURCE_DIR}")
endfunction()
