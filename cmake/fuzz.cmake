# brisk_fuzz(NAME DEPENDS module…): the fuzz target tests/fuzz/NAME_fuzz.cpp, which defines
# LLVMFuzzerTestOneInput, as the program brisk_fuzz_NAME, with its inputs in tests/fuzz/corpus/NAME.
# Ordinarily tests/fuzz/replay.cpp drives it over these inputs and their mutations, as a test of
# ctest. Under the preset `fuzz` (clang, sanitizers) it is a libFuzzer program:
#   cmake --preset fuzz && cmake --build build/fuzz --target brisk_fuzz_NAME &&
#   build/fuzz/brisk_fuzz_NAME -max_total_time=600 -max_len=4096 NEW_INPUTS tests/fuzz/corpus/NAME
function(brisk_fuzz NAME)
  cmake_parse_arguments(ARG "" "" "DEPENDS" ${ARGN})
  set(folder ${PROJECT_SOURCE_DIR}/tests/fuzz)
  if(NOT BRISK_TESTS OR NOT EXISTS ${folder}/${NAME}_fuzz.cpp)
    return()
  endif()
  list(TRANSFORM ARG_DEPENDS PREPEND brisk_)
  add_executable(brisk_fuzz_${NAME} ${folder}/${NAME}_fuzz.cpp)
  target_compile_definitions(brisk_fuzz_${NAME} PRIVATE BRISK_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_link_libraries(brisk_fuzz_${NAME} PRIVATE ${ARG_DEPENDS})
  if(BRISK_FUZZ)
    target_link_options(brisk_fuzz_${NAME} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(brisk_fuzz_${NAME} PRIVATE ${folder}/replay.cpp)
    add_test(NAME fuzz.${NAME} COMMAND brisk_fuzz_${NAME} ${folder}/corpus/${NAME})
    set_tests_properties(fuzz.${NAME} PROPERTIES LABELS fuzz TIMEOUT 600)
  endif()
endfunction()
