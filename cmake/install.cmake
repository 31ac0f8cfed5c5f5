# cmake --install BUILD --prefix PREFIX: bin/engine, bin/engine-bench, bin/chat, the library for consumers with its header
# and pkg-config file, and under share/mixengine what they are run with.
include(GNUInstallDirs)

function(install_all)
  set(data ${CMAKE_INSTALL_DATADIR}/mixengine)
  set(pc ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
  file(RELATIVE_PATH lib_from_bin /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_LIBDIR})
  file(RELATIVE_PATH prefix_from_pc /${pc} /)
  configure_file(cmake/mix-consumer.pc.in ${CMAKE_BINARY_DIR}/mix-consumer.pc @ONLY)
  set_target_properties(chat PROPERTIES INSTALL_RPATH "$ORIGIN/${lib_from_bin}")
  install(TARGETS engine engine-bench chat mix_consumer RUNTIME LIBRARY)
  install(FILES engine/consumer/mix_consumer.h TYPE INCLUDE)
  install(FILES ${CMAKE_BINARY_DIR}/mix-consumer.pc DESTINATION ${pc})
  install(DIRECTORY lua conf examples docs DESTINATION ${data} PATTERN "*.db*" EXCLUDE
          PATTERN "__pycache__" EXCLUDE)
  install(FILES README.md NEWS.md CONTRIBUTING.md SECURITY.md LICENSE DESTINATION ${data})
endfunction()
