# SPDX-License-Identifier: MIT
# awk -f api.awk qpal.h > API.md: the documented header as Markdown.  A comment that begins a line
# is prose for the declaration below it; "/* ---- Name ---- */" begins a section; declarations are
# kept as they are.
BEGIN {
  print "# libqpal, the interface for engines\n"
  print "Made from `runtime/include/qpal.h`; the header is the reference."
}

function text_of(line) {
  sub(/^\/\*/, "", line)
  sub(/\*\/$/, "", line)
  sub(/^\*\*/, "", line)
  sub(/[ \t]+$/, "", line)
  return line
}

# Prose as it stands; lines that are set in are formulas and lists, kept letter by letter.
function say(line) {
  line = text_of(line)
  if (line ~ /^   / && !formula) text = text "\n```\n"
  if (line !~ /^   / && formula) text = text "```\n\n"
  formula = line ~ /^   /
  sub(/^ /, "", line)
  if (line != "" || text ~ /[^\n]\n$/) text = text line "\n"
}

function end_prose() {
  if (formula) text = text "```\n"
  formula = 0
  prose = 0
}

# A heading for functions, then the prose, then the declaration.
function flush(    rest) {
  rest = code
  while (match(rest, /qpal_[a-z_0-9]+\(/)) {
    print "\n### `" substr(rest, RSTART, RLENGTH - 1) "`"
    rest = substr(rest, RSTART + RLENGTH)
  }
  if (text != "") printf "\n%s", text
  if (code != "") print "\n```c\n" code "```"
  text = code = ""
}

/^#/ && !/define QPAL_(VERSION|ABI)/ { next }
/^extern "C"|^}$/ && code == "" { next }
/SPDX/ { next }

/^\/\* ---- .* ---- \*\/$/ {
  flush()
  name = $0
  gsub(/^\/\* ---- | ---- \*\/$/, "", name)
  print "\n## " name
  next
}

/^\/\*/ {
  flush()
  prose = 1
  begun = $0 ~ /^\/\* / # "/* words": the lines below stand under the first word
}

prose {
  if (begun && !/^\/\*/) sub(/^   /, " ")
  say($0)
  if (/\*\/$/) end_prose()
  next
}

/^$/ {
  flush()
  next
}

{ code = code $0 "\n" }
END { flush() }
