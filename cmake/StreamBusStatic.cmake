# Programs with their plugins linked in: no dlopen, no Boost.DLL.

# streambus_link_plugins(TARGET NAME...): links the named plugins into the program TARGET, which then loads none.
function(streambus_link_plugins target)
  set(declarations "")
  set(entries "")
  foreach(name ${ARGN})
    string(REPLACE "-" "_" id ${name})
    string(APPEND declarations "extern \"C\" const PluginDescriptor streambus_plugin_${id};\n")
    string(APPEND entries "    &streambus_plugin_${id},\n")
    target_link_libraries(${target} PRIVATE streambus_static_${id})
  endforeach()
  set(table ${CMAKE_CURRENT_BINARY_DIR}/${target}_plugins.cpp)
  configure_file(${PROJECT_SOURCE_DIR}/cmake/linked_plugins.cpp.in ${table} @ONLY)
  target_sources(${target} PRIVATE ${table})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/core/src/host)
  set_target_properties(${target} PROPERTIES STREAMBUS_LINKED_PLUGINS TRUE)
endfunction()
