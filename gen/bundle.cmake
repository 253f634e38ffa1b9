# SPDX-License-Identifier: MIT
# QPAL (the portable binary) -> OUT/NAME/ with the shared libraries it needs, and OUT/NAME.tar.gz.
# Left to the other machine are glibc and what qpal opens at run time: the driver, NVRTC, CUPTI.

set(glibc "^(ld-linux.*|lib(c|m|dl|rt|pthread))\\.so\\.[0-9]+$")

file(GET_RUNTIME_DEPENDENCIES EXECUTABLES ${QPAL}
  PRE_EXCLUDE_REGEXES ${glibc}
  RESOLVED_DEPENDENCIES_VAR libraries UNRESOLVED_DEPENDENCIES_VAR missing)
if(missing)
  message(FATAL_ERROR "${QPAL} needs libraries that are not on this machine: ${missing}")
endif()

set(dir ${OUT}/${NAME})
file(REMOVE_RECURSE ${dir})
file(MAKE_DIRECTORY ${dir}/lib ${dir}/licenses)
configure_file(${QPAL} ${dir}/qpal COPYONLY)
execute_process(COMMAND ${STRIP} ${dir}/qpal COMMAND_ERROR_IS_FATAL ANY)
configure_file(${SOURCE}/LICENSE ${dir}/licenses/qpal COPYONLY)
configure_file(${SOURCE}/tuner/slurm/qpal-tune-array ${dir}/qpal-tune-array COPYONLY)
configure_file(${SOURCE}/tests/gpu.sh ${dir}/gpu.sh COPYONLY)

# Notices of what is linked in (Lua) and of what lies beside, where the distribution keeps them.
function(add_notice package)
  set(notice /usr/share/doc/${package}/copyright)
  if(EXISTS ${notice})
    file(READ ${notice} text)
    file(WRITE ${dir}/licenses/${package} "${text}")
  else()
    message(WARNING "${notice} is not there: add the licence of ${package} by hand")
  endif()
endfunction()

add_notice(liblua5.4-dev)
foreach(library ${libraries})
  get_filename_component(name ${library} NAME)
  file(REAL_PATH ${library} real)
  configure_file(${real} ${dir}/lib/${name} COPYONLY)
  string(REGEX REPLACE "\\.so\\.([0-9]+)$" "\\1" package ${name})
  if(name MATCHES "[0-9]\\.so\\.") # Debian's rule: libpcre2-8.so.0 is in libpcre2-8-0
    string(REGEX REPLACE "\\.so\\.([0-9]+)$" "-\\1" package ${name})
  endif()
  add_notice(${package})
endforeach()

execute_process(COMMAND ${CMAKE_COMMAND} -E tar czf ${NAME}.tar.gz ${NAME}
  WORKING_DIRECTORY ${OUT} COMMAND_ERROR_IS_FATAL ANY)
message(STATUS "${dir}.tar.gz")
