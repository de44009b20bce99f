# brisk_onnx_schema(TARGET): adds the classes of ONNX's messages to a module, made by protoc from the
# schema that the distribution has (libonnx-dev), and links protobuf-lite, the archive: the program
# that is handed out needs no library of protobuf.
find_program(BRISK_PROTOC protoc DOC "protobuf's compiler")
find_file(BRISK_ONNX_PROTO onnx/onnx.proto DOC "ONNX's schema")
find_library(BRISK_PROTOBUF_LITE NAMES libprotobuf-lite.a protobuf-lite DOC "protobuf's runtime")
if(NOT BRISK_PROTOC OR NOT BRISK_ONNX_PROTO OR NOT BRISK_PROTOBUF_LITE)
  message(FATAL_ERROR "protoc, onnx/onnx.proto or libprotobuf-lite is missing: "
                      "run tools/install_dependencies.sh")
endif()

function(brisk_onnx_schema TARGET)
  set(folder ${PROJECT_BINARY_DIR}/schema)
  get_filename_component(root ${BRISK_ONNX_PROTO} DIRECTORY)
  get_filename_component(root ${root} DIRECTORY)
  file(MAKE_DIRECTORY ${folder})
  set(own ${PROJECT_SOURCE_DIR}/src/onnx)
  set(made ${folder}/onnx/onnx.pb.cc ${folder}/value.pb.cc)
  set(headers ${folder}/onnx/onnx.pb.h ${folder}/value.pb.h)
  add_custom_command(OUTPUT ${made} ${headers}
                     COMMAND ${BRISK_PROTOC} --cpp_out=lite:${folder} -I${root} -I${own}
                             onnx/onnx.proto value.proto
                     DEPENDS ${BRISK_ONNX_PROTO} ${own}/value.proto VERBATIM)
  set_source_files_properties(${made} PROPERTIES COMPILE_OPTIONS -w)
  target_sources(${TARGET} PRIVATE ${made} ${headers})
  target_include_directories(${TARGET} SYSTEM PRIVATE ${folder})
endfunction()
