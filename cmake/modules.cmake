# brisk_module(NAME [DEPENDS module…] [LINK target…]): one static library per folder of src/, made of
# every .cpp file in it (folders below included), and its tests: tests/NAME/*_test.cpp become one
# executable, brisk_NAME_test. DEPENDS is the only way one folder may see another.
function(brisk_module NAME)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LINK" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${NAME}/*.cpp)
  add_library(brisk_${NAME} STATIC ${sources})
  target_include_directories(brisk_${NAME} PUBLIC ${PROJECT_SOURCE_DIR}/src
                                                  ${PROJECT_SOURCE_DIR}/include)
  list(TRANSFORM ARG_DEPENDS PREPEND brisk_)
  target_link_libraries(brisk_${NAME} PUBLIC ${ARG_DEPENDS} ${ARG_LINK})
  if(BRISK_TESTS)
    file(GLOB tests CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${NAME}/*_test.cpp)
    if(tests)
      add_executable(brisk_${NAME}_test ${tests})
      target_include_directories(brisk_${NAME}_test PRIVATE ${PROJECT_SOURCE_DIR}/tests)
      target_compile_definitions(brisk_${NAME}_test
        PRIVATE BRISK_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
      target_link_libraries(brisk_${NAME}_test PRIVATE brisk_${NAME} GTest::gtest_main)
      gtest_discover_tests(brisk_${NAME}_test DISCOVERY_MODE PRE_TEST)
    endif()
  endif()
endfunction()
