# engine_test(NAME SOURCE): one unit test program that stands beside its source, run by ctest.
function(engine_test name source)
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE engine_core PkgConfig::CMOCKA)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME unit.${name} COMMAND ${name})
  set_tests_properties(unit.${name} PROPERTIES TIMEOUT 120 LABELS unit)
endfunction()
