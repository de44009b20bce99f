# `cmake --install`: the public headers, the modules' archives and a package config, so that another
# project writes find_package(brisk) and links brisk::brisk; the program's script into share/brisk.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/brisk)

add_library(brisk INTERFACE)
target_include_directories(brisk INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_compile_features(brisk INTERFACE cxx_std_20)
target_link_libraries(brisk INTERFACE brisk_llm brisk_onnx)
add_library(brisk::brisk ALIAS brisk)

get_property(modules GLOBAL PROPERTY BRISK_MODULES)
install(TARGETS brisk ${modules} EXPORT brisk ARCHIVE)
install(FILES src/cli/bench_torch.py DESTINATION ${CMAKE_INSTALL_DATADIR}/brisk)
install(EXPORT brisk NAMESPACE brisk:: FILE brisk-targets.cmake DESTINATION ${package})
install(DIRECTORY include/brisk DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES cmake/llvm.cmake DESTINATION ${package} RENAME brisk-llvm.cmake)
configure_package_config_file(cmake/brisk-config.cmake.in
  ${PROJECT_BINARY_DIR}/brisk-config.cmake INSTALL_DESTINATION ${package})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/brisk-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/brisk-config.cmake
              ${PROJECT_BINARY_DIR}/brisk-config-version.cmake DESTINATION ${package})
