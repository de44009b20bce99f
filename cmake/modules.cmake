# The build's functions; each takes its sources from a folder, so a new file needs no edit.

# brisk_module(NAME [DEPENDS module…] [LINK target…]): one static library per folder of src/, made of
# every .cpp file in it (folders below included), and its tests. DEPENDS is the only way one folder
# may see another; LINK are outside libraries, unseen by the folders above.
function(brisk_module NAME)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LINK" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${NAME}/*.cpp)
  list(TRANSFORM ARG_DEPENDS PREPEND brisk_)
  foreach(module ${ARG_DEPENDS})
    if(NOT TARGET ${module})
      message(FATAL_ERROR "${NAME} depends on ${module}, which is not above it in CMakeLists.txt")
    endif()
  endforeach()
  if(sources)
    set(scope PUBLIC)
    add_library(brisk_${NAME} STATIC ${sources})
    target_link_libraries(brisk_${NAME} PRIVATE ${ARG_LINK})
  else()
    set(scope INTERFACE)
    add_library(brisk_${NAME} INTERFACE)
  endif()
  target_include_directories(brisk_${NAME} ${scope}
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>)
  target_link_libraries(brisk_${NAME} ${scope} ${ARG_DEPENDS} fmt::fmt Threads::Threads)
  set_property(GLOBAL APPEND PROPERTY BRISK_MODULES brisk_${NAME})
  brisk_tests(${NAME} DEPENDS ${NAME} LINK ${ARG_LINK})
endfunction()

# brisk_tests(NAME DEPENDS module… [LINK target…]): tests/NAME/*_test.cpp as one executable,
# brisk_NAME_test; each of its tests is one test of ctest, labelled NAME.
function(brisk_tests NAME)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LINK" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${NAME}/*_test.cpp)
  if(NOT BRISK_TESTS OR NOT sources)
    return()
  endif()
  list(TRANSFORM ARG_DEPENDS PREPEND brisk_)
  add_executable(brisk_${NAME}_test ${sources})
  target_include_directories(brisk_${NAME}_test PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_compile_definitions(brisk_${NAME}_test PRIVATE BRISK_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_link_libraries(brisk_${NAME}_test PRIVATE ${ARG_DEPENDS} ${ARG_LINK} GTest::gtest_main)
  gtest_discover_tests(brisk_${NAME}_test DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
                       PROPERTIES LABELS ${NAME} TIMEOUT 600)
endfunction()

# brisk_program(DEPENDS module… [LINK target…]): the command `brisk` from src/cli, target brisk_cli.
# The tests in tests/cli run it as a process, at BRISK_PROGRAM. Its script for --compare-torch lies
# beside it.
function(brisk_program)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LINK" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/cli/*.cpp)
  if(NOT sources)
    return()
  endif()
  list(TRANSFORM ARG_DEPENDS PREPEND brisk_ OUTPUT_VARIABLE libraries)
  add_executable(brisk_cli ${sources})
  set_target_properties(brisk_cli PROPERTIES OUTPUT_NAME brisk)
  target_link_libraries(brisk_cli PRIVATE ${libraries} ${ARG_LINK})
  install(TARGETS brisk_cli RUNTIME)
  configure_file(${PROJECT_SOURCE_DIR}/src/cli/bench_torch.py ${PROJECT_BINARY_DIR} COPYONLY)
  brisk_tests(cli DEPENDS ${ARG_DEPENDS} LINK ${ARG_LINK})
  if(TARGET brisk_cli_test)
    add_dependencies(brisk_cli_test brisk_cli)
    target_compile_definitions(brisk_cli_test PRIVATE BRISK_PROGRAM="$<TARGET_FILE:brisk_cli>")
  endif()
endfunction()

# brisk_device_tests(DEVICE TEST SHARDS FILTER [OPTION VALUE]): brisk_TEST_test's tests that match
# FILTER, on another device than the default one, with brisk's OPTION as VALUE; a test of ctest for
# each of SHARDS equal shares, labelled by the device's back end and skipped where the device is not
# there.
function(brisk_device_tests DEVICE TEST SHARDS FILTER)
  if(NOT TARGET brisk_${TEST}_test OR NOT TARGET brisk_cli)
    return()
  endif()
  string(REGEX REPLACE ":.*" "" backend ${DEVICE})
  math(EXPR last "${SHARDS} - 1")
  foreach(shard RANGE ${last})
    set(name ${backend}.${TEST}.${shard})
    set(environment GTEST_TOTAL_SHARDS=${SHARDS} GTEST_SHARD_INDEX=${shard})
    if(ARGC GREATER 4)
      string(APPEND name .${ARGV4})
      list(APPEND environment ${ARGV4}=${ARGV5})
    endif()
    add_test(NAME ${name} COMMAND
             ${PROJECT_SOURCE_DIR}/tools/with_device.sh $<TARGET_FILE:brisk_cli> ${DEVICE}
             $<TARGET_FILE:brisk_${TEST}_test> --gtest_filter=${FILTER})
    set_tests_properties(${name} PROPERTIES LABELS ${backend} TIMEOUT 600 SKIP_RETURN_CODE 77
                         ENVIRONMENT "${environment}")
  endforeach()
endfunction()
