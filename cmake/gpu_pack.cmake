# BRISK_GPU_PACK: the programs that tools/gpu_pack.sh carries to a machine with a GPU, in the build's
# folder pack/. All of brisk with LLVM in it is one library, so that the programs on it are small:
# brisk, brisk_gpu_test (what a device must pass: devices, engine, table of operations, gradients,
# layers, tiny models), brisk_onnx_test (those of ONNX, which may be built from other sources with the
# same names of tests), the benchmarks and examples/gpt. They look for their libraries in pack/lib.
option(BRISK_GPU_PACK "have the programs for a machine with a GPU (tools/gpu_pack.sh)" OFF)
if(NOT BRISK_GPU_PACK)
  return()
endif()

find_package(GTest REQUIRED)
set(pack ${PROJECT_BINARY_DIR}/pack)
set(CMAKE_BUILD_WITH_INSTALL_RPATH ON)
set(CMAKE_INSTALL_RPATH "$ORIGIN;$ORIGIN/lib")

get_property(modules GLOBAL PROPERTY BRISK_MODULES)
set(objects)
foreach(module ${modules})
  get_target_property(type ${module} TYPE)
  if(type STREQUAL "STATIC_LIBRARY")
    list(APPEND objects $<TARGET_OBJECTS:${module}>)
  endif()
endforeach()
# Debian's archive of protobuf cannot be part of a library.
find_library(BRISK_PROTOBUF_SHARED NAMES protobuf-lite REQUIRED)
add_library(brisk_whole SHARED EXCLUDE_FROM_ALL ${objects})
set_target_properties(brisk_whole PROPERTIES LINKER_LANGUAGE CXX
  LIBRARY_OUTPUT_DIRECTORY ${pack}/lib)
target_include_directories(brisk_whole INTERFACE ${PROJECT_SOURCE_DIR}/src
  ${PROJECT_SOURCE_DIR}/include)
target_link_libraries(brisk_whole PUBLIC fmt::fmt Threads::Threads
  PRIVATE brisk_llvm SQLite::SQLite3 pcre2-8 ${BRISK_PROTOBUF_SHARED} ${CMAKE_DL_LIBS})
# What comes from archives (LLVM) is seen inside alone, so the linker drops what brisk does not use.
target_link_options(brisk_whole PRIVATE -Wl,--exclude-libs,ALL)

# A program of the pack from these sources.
function(brisk_gpu_program NAME)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(brisk_pack_${NAME} EXCLUDE_FROM_ALL ${ARG_SOURCES})
  set_target_properties(brisk_pack_${NAME} PROPERTIES OUTPUT_NAME ${NAME}
    RUNTIME_OUTPUT_DIRECTORY ${pack})
  target_link_libraries(brisk_pack_${NAME} PRIVATE brisk_whole nlohmann_json::nlohmann_json
    ${ARG_LINK})
  add_dependencies(brisk_gpu_pack brisk_pack_${NAME})
endfunction()

add_custom_target(brisk_gpu_pack)
file(GLOB_RECURSE cli CONFIGURE_DEPENDS src/cli/*.cpp)
brisk_gpu_program(brisk SOURCES ${cli})

file(GLOB tests CONFIGURE_DEPENDS tests/device/*_test.cpp tests/engine/*_test.cpp
  tests/tensor/devices_test.cpp
  tests/ops/*_test.cpp tests/tiny/*_test.cpp tests/llm/model*_test.cpp
  tests/nn/*_test.cpp tests/autograd/*_test.cpp tests/tensor/autograd_test.cpp)
list(FILTER tests EXCLUDE REGEX kill_test)  # it needs a file system that outlives it
brisk_gpu_program(brisk_gpu_test SOURCES ${tests} LINK GTest::gtest_main SQLite::SQLite3)

file(GLOB tests CONFIGURE_DEPENDS tests/onnx/*_test.cpp)
brisk_gpu_program(brisk_onnx_test SOURCES ${tests} LINK GTest::gtest_main ZLIB::ZLIB)
foreach(name gpu onnx)
  target_include_directories(brisk_pack_brisk_${name}_test PRIVATE tests)
  target_compile_definitions(brisk_pack_brisk_${name}_test PRIVATE
    BRISK_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
endforeach()

foreach(name gpu replay launch_overhead llm compile train)
  brisk_gpu_program(brisk_bench_${name} SOURCES bench/${name}.cpp)
endforeach()
target_include_directories(brisk_pack_brisk_bench_train PRIVATE ${PROJECT_SOURCE_DIR} tests)

file(GLOB example CONFIGURE_DEPENDS examples/gpt/*.cpp)
brisk_gpu_program(example_gpt SOURCES ${example})

# For bench/gpu_peer.py, which measures in its own process.
add_library(brisk_pack_gpu_library SHARED EXCLUDE_FROM_ALL bench/peer/gpu_library.cpp)
set_target_properties(brisk_pack_gpu_library PROPERTIES OUTPUT_NAME brisk_bench_gpu
  LIBRARY_OUTPUT_DIRECTORY ${pack}/lib INSTALL_RPATH "$ORIGIN")
target_link_libraries(brisk_pack_gpu_library PRIVATE brisk_whole nlohmann_json::nlohmann_json)
add_dependencies(brisk_gpu_pack brisk_pack_gpu_library)
