# Builds the Rust crate into a static library, target wt::tokenizer_ffi.
#
# Debian's rustc-web and cargo-web come first: a rustup toolchain that happens to be installed is
# not what the versions are pinned for.
find_program(CARGO_PROGRAM cargo PATHS /usr/bin NO_DEFAULT_PATH)
find_program(CARGO_PROGRAM cargo REQUIRED)
find_program(RUSTC_PROGRAM rustc PATHS /usr/bin NO_DEFAULT_PATH)
find_program(RUSTC_PROGRAM rustc REQUIRED)

set(_crate "${CMAKE_CURRENT_SOURCE_DIR}/tokenizer_ffi")
set(_target_dir "${CMAKE_BINARY_DIR}/cargo")
set(_archive "${_target_dir}/release/libtokenizer_ffi.a")
file(GLOB _sources CONFIGURE_DEPENDS "${_crate}/src/*.rs")

add_custom_command(
  OUTPUT "${_archive}"
  COMMAND ${CMAKE_COMMAND} -E env "RUSTC=${RUSTC_PROGRAM}" "CARGO_TARGET_DIR=${_target_dir}"
          "${CARGO_PROGRAM}" build --release --locked --quiet
          --manifest-path "${_crate}/Cargo.toml"
  DEPENDS ${_sources} "${_crate}/Cargo.toml" "${_crate}/Cargo.lock"
  COMMENT "Building the tokenizer crate with cargo (the first time takes minutes)"
  USES_TERMINAL VERBATIM)
add_custom_target(tokenizer_ffi_archive DEPENDS "${_archive}")

add_library(wt_tokenizer_ffi INTERFACE)
add_dependencies(wt_tokenizer_ffi tokenizer_ffi_archive)
target_include_directories(wt_tokenizer_ffi INTERFACE "${_crate}/include")
target_link_libraries(wt_tokenizer_ffi INTERFACE "${_archive}" Threads::Threads ${CMAKE_DL_LIBS} m)
add_library(wt::tokenizer_ffi ALIAS wt_tokenizer_ffi)
