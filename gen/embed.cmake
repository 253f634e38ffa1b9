# SPDX-License-Identifier: MIT
# Files of lua/, templates/ and tuned/ -> one C file that carries them (gen/base/resource_data.h).
#
#   include(gen/embed.cmake)              defines qp_embed(<out.c> <folder>...)
#   cmake -DROOT= -DLIST= -DOUT= -P ...   what the build runs: writes OUT from the paths in LIST

if(NOT CMAKE_SCRIPT_MODE_FILE)
  set(QP_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_FILE})

  # Have the build write 'out' from every file below the folders.  New and removed files are noticed
  # at the next build (CONFIGURE_DEPENDS), changed ones by the dependency.
  function(qp_embed out)
    set(paths)
    foreach(folder ${ARGN})
      file(GLOB_RECURSE found RELATIVE ${PROJECT_SOURCE_DIR} CONFIGURE_DEPENDS
        ${PROJECT_SOURCE_DIR}/${folder}/*)
      list(APPEND paths ${found})
    endforeach()
    list(FILTER paths EXCLUDE REGEX "(^|/)\\.|~$")
    list(SORT paths)
    set(list ${out}.list)
    string(JOIN "\n" text ${paths})
    file(CONFIGURE OUTPUT ${list} CONTENT "${text}\n" @ONLY)
    list(TRANSFORM paths PREPEND ${PROJECT_SOURCE_DIR}/ OUTPUT_VARIABLE depends)
    add_custom_command(OUTPUT ${out}
      COMMAND ${CMAKE_COMMAND} -DROOT=${PROJECT_SOURCE_DIR} -DLIST=${list} -DOUT=${out}
        -P ${QP_EMBED_SCRIPT}
      DEPENDS ${QP_EMBED_SCRIPT} ${list} ${depends}
      COMMENT "Embedding lua, templates, tuned" VERBATIM)
  endfunction()
  return()
endif()

file(STRINGS ${LIST} paths)
set(table "")
set(count 0)
foreach(path ${paths})
  file(READ ${ROOT}/${path} hex HEX)
  # Every byte as an escape, so that no content needs quoting; a new literal after each line feed
  # keeps the lines of the C file those of the embedded one.
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "\\\\x\\1" text "${hex}")
  string(REPLACE "\\x0a" "\\x0a\"\n   \"" text "${text}")
  string(LENGTH "${hex}" digits)
  math(EXPR bytes "${digits} / 2")
  string(APPEND table "  {\"${path}\",\n   \"${text}\",\n   ${bytes}u},\n")
  math(EXPR count "${count} + 1")
endforeach()
file(WRITE ${OUT} "/* Written by gen/embed.cmake. */
#include \"gen/base/resource_data.h\"

const size_t qp_resource_count = ${count};
const qp_resource_entry qp_resource_table[] = {
${table}  {NULL, NULL, 0},
};
")
