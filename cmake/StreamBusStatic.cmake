# Programs with their plugins linked in: no dlopen, no Boost.DLL.

# streambus_link_plugins(TARGET NAME...): links the named plugins into the program TARGET, which then loads none.
# Outside of sanitizer builds the C++ runtime is linked in as well and what nobody calls is left out. Debian has no static
# libfmt and libisal: the first is header-only here, the second stays the one library beside libc and libm that has to be there.
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
  if(NOT STREAMBUS_SANITIZE)
    target_link_options(${target} PRIVATE -static-libstdc++ -static-libgcc -Wl,--gc-sections,--as-needed)
  endif()
endfunction()
