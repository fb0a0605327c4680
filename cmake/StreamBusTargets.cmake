# The few ways in which StreamBus makes targets.

set(STREAMBUS_PLUGINS "" CACHE STRING "Plugins to build, by folder name, separated by ';' (empty: all); those of STREAMBUS_STATIC_PLUGINS too")
set(STREAMBUS_STATIC_PLUGINS "" CACHE STRING "Plugins to link into streambusd and streambus, which then load none (empty: load at run time)")

# streambus_add_library(NAME FOLDER LIBRARIES...): target streambus_NAME (alias StreamBus::NAME) from FOLDER/*.cpp.
function(streambus_add_library name folder)
  file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.cpp)
  add_library(streambus_${name} STATIC ${sources})
  add_library(StreamBus::${name} ALIAS streambus_${name})
  set_target_properties(streambus_${name} PROPERTIES EXPORT_NAME ${name})
  target_link_libraries(streambus_${name} PUBLIC ${ARGN} PRIVATE $<BUILD_INTERFACE:streambus_flags>)
endfunction()

# streambus_add_test(NAME [SOURCES file...] [LIBRARIES target...] [LABELS label...] [TIMEOUT seconds] [ENVIRONMENT K=V...])
# A GoogleTest executable; sources default to this folder's *.cpp. One ctest entry per executable.
function(streambus_add_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;LIBRARIES;LABELS;ENVIRONMENT" ${ARGN})
  if(NOT arg_SOURCES)
    file(GLOB arg_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  add_executable(${name} ${arg_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests/support
    ${PROJECT_SOURCE_DIR}/harness/conformance/include/streambus/conformance) # the doubles of storage engines and transports
  target_compile_definitions(${name} PRIVATE
    STREAMBUS_TEST_BUILD_DIR="${CMAKE_BINARY_DIR}" STREAMBUS_TEST_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE ${arg_LIBRARIES} StreamBus::conformance GTest::gtest_main $<BUILD_INTERFACE:streambus_flags>)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}" ENVIRONMENT "${arg_ENVIRONMENT}")
endfunction()
